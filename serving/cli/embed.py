"""``rawbert embed``: texts from arguments, files or standard input to vectors on standard output or in a file."""

import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import click

from ..client.client import Client
from ..errors import ModelNotFound, ModelVersionChanged
from .connection import NEW_FILE, OldSpelling, client_settings, connection_options, one_line
from .files import BadFile, inputs, jsonl, writing
from .files.columns import Columns
from .files.inputs import Inputs
from .files.job import Job, Product
from .files.source import ROWS, Source
from .files.writing import Format, json_lines
from .signature import Choice, signatures, vector_output
from .telling import Truncation, progress, tell_skipped, told_of_waiting

#: Lines of standard input that are sent at once.
_LINES = 64


def _delimiter(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    value = {"tab": "\t", "\\t": "\t", None: ""}.get(value, value)
    if value and (len(value) != 1 or value in '\r\n"'):
        raise click.BadParameter(f"{value!r}: give one character, or tab")
    return value or ""


def _encoding(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        if value:
            "a".encode(value)
    except LookupError as error:
        raise click.BadParameter(f"{error}; utf-8, utf-16, cp1252 and gb18030 are some that there are") from error
    return value


@click.command()
@click.argument("texts", nargs=-1)
@connection_options
@click.option("--signature", help="Signature that answers vectors.  [default: embed, or the model's default]")
@click.option("--output-name", help="Output of it.  [default: the one with a vector a text]")
@click.option("--input", "-i", "names", multiple=True, metavar="FILE",
              help="File, folder or glob of texts: .txt (a text a line), .jsonl, .csv, .tsv, perhaps with .gz, or "
              ".parquet; - is standard input. Repeatable.")  # fmt: skip
@click.option(
    "--output", "-o", type=NEW_FILE, help="File of vectors: .npy, .jsonl, .parquet. It appears when it is whole."
)
@click.option("--input-format", type=click.Choice(sorted(set(inputs.FORMS.values()))),
              help="[default: by the name of the file; text on standard input]")  # fmt: skip
@click.option("--column", default="text", show_default=True,
              help="Field or column that holds the text; a.b is b in a.")  # fmt: skip
@click.option("--keep", multiple=True, metavar="COLUMN", help="Field or column to carry into the output; repeatable.")
@click.option("--keep-all", is_flag=True, help="Carry all fields or columns into the output.")
@click.option("--rows", type=NEW_FILE, help="With .npy: file for what is kept, .jsonl or .parquet.  "
              "[default: OUTPUT.rows.jsonl]")  # fmt: skip
@click.option("--encoding", callback=_encoding, help="Of text, JSONL, CSV.  [default: UTF-8, or by a byte-order mark]")
@click.option("--delimiter", callback=_delimiter, help="Between columns of CSV.  [default: a comma; a tab in .tsv]")
@click.option("--no-quotes", is_flag=True, help="Quotes in CSV are plain characters.")
@click.option("--on-error", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
              help="What becomes of rows that cannot be read; skip lists them in OUTPUT.skipped.jsonl.")  # fmt: skip
@click.option("--on-truncation", type=click.Choice(["fail", "warn", "ignore"]), default="warn", show_default=True,
              help="What happens where texts are longer than the model takes; ignore does not ask it.")  # fmt: skip
@click.option("--batch-size", "--max-batch-size", "max_batch_size", cls=OldSpelling, type=click.IntRange(min=1),
              default=64, show_default=True, help="Texts in a call.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(min=1), default=4, show_default=True, help="Calls at once.")
@click.option("--restart", is_flag=True, help="Begin anew where an earlier run was interrupted.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT where it exists.")
@click.option(
    "--format", "form", type=click.Choice(["auto", "json", "text"]), default="auto", show_default=True,
    help="json: one object a line; text: a short form for people; auto: text at a terminal, else json.",
)  # fmt: skip
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
def embed(
    texts: tuple[str, ...],
    signature: str | None,
    output_name: str | None,
    names: tuple[str, ...],
    output: Path | None,
    input_format: str | None,
    column: str,
    keep: tuple[str, ...],
    keep_all: bool,
    rows: Path | None,
    encoding: str | None,
    delimiter: str,
    no_quotes: bool,
    on_error: str,
    on_truncation: str,
    restart: bool,
    overwrite: bool,
    form: str,
    **settings: Any,
) -> None:
    """Embed TEXTS, files, or standard input where there is neither.

    A job into a file that was interrupted goes on where it was when the same command is given again: after the texts
    that are still the same. Output lines and rows hold text, what is kept, and embedding; .npy holds the vectors alone,
    with what is kept in a file of its own beside it.

    \b
    Examples:
      rawbert embed --model minilm "plain strings go in" "vectors come out"
      rawbert embed --model minilm < lines.txt > vectors.jsonl
      rawbert embed --model minilm --input questions.csv --column question --output vectors.npy
      rawbert embed --model minilm --input pages.parquet --keep id --keep url --output vectors.parquet
    """
    if texts and names:
        raise click.UsageError("give TEXTS or --input, not both; quote a glob, or repeat --input")
    if output is not None and str(output) == "-":
        output = None
    asked = {"signature": signature, "output": output_name}
    with one_line(), told_of_waiting():
        settings = client_settings(settings)
        columns = Columns(column, tuple(dict.fromkeys(keep)), keep_all)

        def source_of(spool: Path, stream: bool = False) -> Source:
            found = Inputs(() if texts else names or (inputs.STANDARD,), input_format, spool, stream)
            _check_options(found.form, columns.any_kept, encoding, bool(delimiter) or no_quotes)
            return Source(found, texts, columns, encoding, delimiter, not no_quotes, on_error == "skip")

        if output is None:
            if rows is not None or restart or overwrite:
                raise click.UsageError("--rows, --restart and --overwrite are for an --output")
            _to_standard_output(source_of, asked, on_truncation, form, settings)
        else:
            formats = _formats(output, rows, columns.any_kept)
            made_from = {**asked, **{key: settings[key] for key in ("model", "version", "version_label")}}
            with Job(next(iter(formats)), made_from, restart) as job:
                source = source_of(job.spool)
                try:
                    _to_files(source, job, formats, overwrite, on_truncation, settings)
                except BaseException:
                    if job.done:
                        click.echo(f"{job.done} texts are done; the same command goes on from there", err=True)
                    else:
                        source.inputs.discard()
                    raise


def _check_options(form: str, keeps: bool, encoding: str | None, of_csv: bool) -> None:
    if keeps and form == "text":
        raise click.UsageError("there are no columns to keep beside lines of text: give JSONL, CSV or Parquet")
    if encoding and form == "parquet":
        raise click.UsageError("--encoding is for text, JSONL and CSV: Parquet is always UTF-8")
    if of_csv and form not in ("csv", "tsv"):
        raise click.UsageError("--delimiter and --no-quotes are for CSV")


def _formats(output: Path, rows: Path | None, keeps: bool) -> dict[Path, Format]:
    """The files to write, the output first; links are followed."""
    made: dict[Path, Format] = {}
    beside = keeps and output.suffix.lower() == ".npy"
    if rows is not None and not beside:
        raise click.UsageError("--rows is for what --keep carries beside .npy: other outputs have it in their rows")
    for path in (output, *([rows or output.with_name(f"{output.name}.rows.jsonl")] if beside else [])):
        option = "--rows" if made else "--output"
        form = writing.FORMS.get(path.suffix.lower())
        if form is None or (made and form == "npy"):
            listed = ", ".join(each for each in writing.FORMS if not made or each != ".npy")
            raise click.BadParameter(f"{path.name}: the name must end in {listed}", param_hint=option)
        if not path.parent.is_dir():
            raise click.ClickException(f"there is no folder {path.parent}: make it first")
        if path.exists() and not path.is_file():
            raise click.ClickException(f"{path} is no regular file")
        made[Path(os.path.realpath(path)) if path.is_symlink() else path] = Format(form, vectors=not made)
    return made


def _to_standard_output(
    source_of: Callable[..., Source],
    asked: Mapping[str, str | None],
    on_truncation: str,
    form: str,
    settings: dict[str, Any],
) -> None:
    """Line by line; a file is looked through first."""
    if form == "auto":
        form = "text" if sys.stdout.isatty() else "json"
    source = source_of(Path(tempfile.gettempdir(), f"rawbert-{os.getpid()}-input"), stream=True)
    try:
        if source.inputs.lasting:
            _look(source, [Format("jsonl")])
        # What is typed is answered line by line, what is piped in soon; a file is sent several parts at a time.
        size = ROWS if source.inputs.lasting else _LINES
        if sys.stdin.isatty() and any(file.path is None for file in source.inputs.files):
            click.echo("a text a line; Ctrl-D ends", err=True)
            size = 1
        version = None
        with Client(**settings) as client:
            found = signatures(client)
            choice, cut = (
                vector_output(found, asked["signature"], asked["output"]),
                Truncation(client, found, on_truncation),
            )
            for block in source.blocks(size):
                cut.look(block)
                cut.check()
                # One stream is of one version.
                vectors, version = client.embed(block.texts, return_version=True, version=version, **choice)
                _print(json_lines(block, vectors) if form == "json" else _short(block.texts, vectors))
            cut.tell()
        source.inputs.check()
    finally:
        source.inputs.discard()
    tell_skipped(source.skipped)


def _to_files(
    source: Source, job: Job, formats: dict[Path, Format], overwrite: bool, on_truncation: str, settings: dict[str, Any]
) -> None:
    for path in formats:
        if path.exists() and not overwrite:
            raise click.ClickException(f"{path} exists; replace it with --overwrite")
        if source.inputs.contain(path):
            raise click.ClickException(f"{path} is in the input: write the output somewhere else")
    for each in formats.values():
        each.prepare(source)
    count = _look(source, list(formats.values()), job.match)
    skipped = source.skipped
    job.keep_matched()
    if job.done:
        click.echo(f"going on after {job.done} texts", err=True)
    if job.version is not None:
        settings = {**settings, "version": job.version, "version_label": None}
    with Client(**settings) as client, _of_version(job):
        found, asked = signatures(client), job.made_from
        choice, cut = (
            vector_output(found, asked["signature"], asked["output"]),
            Truncation(client, found, on_truncation),
        )
        with _unchanged(source):
            if cut.wanted:
                with progress("lengths", count) as advance:
                    for block in source.blocks():
                        cut.look(block)
                        advance(len(block.texts))
                cut.check()
            with progress("texts", count, job.done) as advance:
                job.append(_embedded(client, source, job.done, choice), advance)
            width = job.width or client.embed([], **choice).shape[1]
    with _unchanged(source):
        products: list[Product] = [
            (path, lambda file, each=each: each.write(file, job.rows(source), count, width))  # type: ignore[misc]
            for path, each in reversed(formats.items())
        ]
        listed = job.beside("skipped.jsonl")
        if skipped:
            products.insert(0, (listed, lambda file: file.writelines(map(jsonl.line, skipped))))
        job.publish(products, [] if skipped or not listed.exists() else [listed], source.inputs)
    click.echo(f"{job.output}: {count} texts, {width} dimensions", err=True)
    cut.tell()
    tell_skipped(skipped, listed)


def _embedded(client: Client, source: Source, done: int, choice: Choice) -> Iterator[tuple[str, Any, int | None]]:
    """The texts after those that are done, each with its vector and the version that made it."""
    sent: deque[str] = deque()

    def rest() -> Iterator[str]:
        for text in islice(source.texts(), done, None):
            sent.append(text)
            yield text

    for vector, version in client.embed_iter(rest(), return_version=True, **choice):
        yield sent.popleft(), vector, version


def _look(source: Source, formats: list[Format], match: Callable[[list[str]], None] = lambda texts: None) -> int:
    """Look the input through before anything is sent: its rows, and what is kept of them; the number of rows."""
    count = 0
    with _unchanged(source):
        for block in source.blocks():
            for each in formats:
                each.check(block)
            match(block.texts)
            count += len(block.texts)
    source.columns.check()
    return count


@contextmanager
def _unchanged(source: Source) -> Iterator[None]:
    """Of two things that are wrong, a change of the input is the one to tell."""
    try:
        yield
    except BadFile:
        source.inputs.check()
        raise


@contextmanager
def _of_version(job: Job) -> Iterator[None]:
    try:
        yield
    except (ModelNotFound, ModelVersionChanged) as error:
        if job.version is None:
            raise
        raise BadFile(f"{error}; the vectors done are of version {job.version}: --restart begins anew") from error


def _short(texts: list[str], vectors: Any) -> Iterator[bytes]:
    """A short form for people, in the encoding of their terminal."""
    for text, vector in zip(texts, vectors, strict=True):
        shown = ", ".join(f"{value: .4f}" for value in vector[:6])
        more = ", ..." if len(vector) > 6 else ""
        line = f"{text}\n  [{shown}{more}]  {len(vector)} dimensions\n"
        yield line.encode(sys.stdout.encoding or "utf-8", "replace")


def _print(lines: Iterator[bytes] | Any) -> None:
    """Bytes to standard output, whatever the encoding of the locale."""
    try:
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # For the flush at exit.
        raise BadFile(f"standard output: {error.strerror or error}") from error
