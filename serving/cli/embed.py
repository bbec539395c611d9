"""``rawbert embed``: texts from arguments, files or standard input; vectors to standard output or to a file."""

import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import click

from ..client.client import Client
from ..plurals import counted
from .connection import NEW_FILE, OldSpelling, client_settings, connection_options, job_options, one_line
from .files import writing
from .files.job import Job, Product
from .files.source import Source
from .files.writing import Format, json_lines
from .reading import Reading, block_size, look, reading_options, streamed, unchanged, write_out
from .signature import Choice, signatures, vector_output
from .telling import (
    Truncation,
    going_on,
    of_version,
    progress,
    tell_skipped,
    told_of_the_rest,
    told_of_waiting,
)


@click.command()
@click.argument("texts", nargs=-1)
@connection_options
@click.option("--signature", help="Signature that answers vectors.  [default: embed, or the model's default]")
@click.option("--output-name", help="Output of it.  [default: the one with a vector per text]")
@reading_options
@click.option(
    "--output", "-o", type=NEW_FILE, help="File of vectors: .npy, .jsonl, .parquet. It appears when it is complete."
)
@click.option("--rows", type=NEW_FILE, help="With .npy: file for kept fields, .jsonl or .parquet.  "
              "[default: OUTPUT.rows.jsonl]")  # fmt: skip
@click.option("--on-truncation", type=click.Choice(["fail", "warn", "ignore"]), default="warn", show_default=True,
              help="Reaction to texts that are too long for the model; ignore does not check.")  # fmt: skip
@click.option("--batch-size", "--max-batch-size", "max_batch_size", cls=OldSpelling, type=click.IntRange(min=1),
              default=64, show_default=True, help="Texts per call.")  # fmt: skip
@job_options
def embed(
    texts: tuple[str, ...],
    signature: str | None,
    output_name: str | None,
    reading: Reading,
    output: Path | None,
    rows: Path | None,
    on_truncation: str,
    restart: bool,
    overwrite: bool,
    form: str,
    **settings: Any,
) -> None:
    """Embed TEXTS, files, or standard input if neither is given.

    An interrupted job with --output continues when the same command is given again, after the unchanged texts at the
    beginning of the input. Output lines and rows contain text, kept fields and embedding; .npy contains only the
    vectors, and kept fields go to a second file.

    \b
    Examples:
      rawbert embed --model minilm "plain strings go in" "vectors come out"
      rawbert embed --model minilm < lines.txt > vectors.jsonl
      rawbert embed --model minilm --input questions.csv --column question --output vectors.npy
      rawbert embed --model minilm --input pages.parquet --keep id --keep url --output vectors.parquet
    """
    if output is not None and str(output) == "-":
        output = None
    asked = {"signature": signature, "output": output_name}
    with one_line(), told_of_waiting():
        # The arguments are checked before any call to a server.
        source = reading.source(texts)
        if output is None:
            if rows is not None or restart or overwrite:
                raise click.UsageError("--rows, --restart and --overwrite need --output")
            _to_standard_output(source, asked, on_truncation, form, client_settings(settings))
        else:
            formats = _formats(output, rows, source, overwrite)
            settings = client_settings(settings)
            made_from = {**asked, **{key: settings[key] for key in ("model", "version", "version_label")}}
            with Job(next(iter(formats)), made_from, restart) as job:
                source.inputs.open(job.spool)
                with told_of_the_rest(job, source):
                    _to_files(source, job, formats, overwrite, on_truncation, settings)


def _formats(output: Path, rows: Path | None, source: Source, overwrite: bool) -> dict[Path, Format]:
    """The files to write, the output first; symbolic links are followed."""
    made: dict[Path, Format] = {}
    has_rows = source.columns.any_kept and output.suffix.lower() == ".npy"
    if rows is not None and not has_rows:
        raise click.UsageError("--rows needs --keep and an --output in .npy: other outputs contain the kept fields")
    for path in (output, *([rows or output.with_name(f"{output.name}.rows.jsonl")] if has_rows else [])):
        option = "--rows" if made else "--output"
        form = writing.FORMS.get(path.suffix.lower())
        if form is None or (made and form == "npy"):
            listed = ", ".join(each for each in writing.FORMS if not made or each != ".npy")
            raise click.BadParameter(f"{path.name}: the name must end in {listed}", param_hint=option)
        if not path.parent.is_dir():
            raise click.ClickException(f"there is no folder {path.parent}: create it first")
        if path.exists() and not path.is_file():
            raise click.ClickException(f"{path} is not a regular file: give another --output")
        path = Path(os.path.realpath(path)) if path.is_symlink() else path
        if path.exists() and not overwrite:
            raise click.ClickException(f"{path} exists; replace it with --overwrite")
        if source.inputs.contain(path):
            raise click.ClickException(f"{path} is in the input: write the output somewhere else")
        made[path] = Format(form, vectors=not made)
    return made


def _to_standard_output(
    source: Source,
    asked: Mapping[str, str | None],
    on_truncation: str,
    form: str,
    settings: dict[str, Any],
) -> None:
    """Write answers line by line; files are checked first."""
    if form == "auto":
        form = "text" if sys.stdout.isatty() else "json"
    with streamed(source):
        if source.inputs.lasting:
            look(source, [Format("jsonl")])
        size = block_size(source)
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
                # All vectors of one stream come from one version.
                vectors, version = client.embed(block.texts, return_version=True, version=version, **choice)
                write_out(json_lines(block, vectors) if form == "json" else _short(block.texts, vectors))
            cut.tell()


def _to_files(
    source: Source, job: Job, formats: dict[Path, Format], overwrite: bool, on_truncation: str, settings: dict[str, Any]
) -> None:
    for each in formats.values():
        each.prepare(source)
    count = look(source, list(formats.values()), lambda block: job.match(block.texts))
    skipped = source.skipped
    with Client(**going_on(job, settings)) as client, of_version(job):
        found, asked = signatures(client), job.made_from
        choice, cut = (
            vector_output(found, asked["signature"], asked["output"]),
            Truncation(client, found, on_truncation),
        )
        with unchanged(source):
            if cut.wanted:
                with progress("lengths", count) as advance:
                    for block in source.blocks():
                        cut.look(block)
                        advance(len(block.texts))
                cut.check()
            with progress("texts", count, job.done) as advance:
                job.append(_embedded(client, source, job.done, choice), advance)
            width = job.width or client.embed([], **choice).shape[1]
    with unchanged(source):
        products: list[Product] = [
            (path, lambda file, each=each: each.write(file, job.rows(source), count, width))  # type: ignore[misc]
            for path, each in reversed(formats.items())
        ]
        job.publish(products, skipped, source.inputs, overwrite)
    click.echo(f"{job.output}: {counted(count, 'text')}, {counted(width, 'dimension')}", err=True)
    cut.tell()
    tell_skipped(skipped, job.listed)


def _embedded(client: Client, source: Source, done: int, choice: Choice) -> Iterator[tuple[str, Any, int | None]]:
    """The texts after the first ``done``, each with its vector and model version."""
    sent: deque[str] = deque()

    def rest() -> Iterator[str]:
        for text in islice(source.texts(), done, None):
            sent.append(text)
            yield text

    for vector, version in client.embed_iter(rest(), return_version=True, **choice):
        yield sent.popleft(), vector, version


def _short(texts: list[str], vectors: Any) -> Iterator[bytes]:
    """A short form for people, in the terminal's encoding."""
    for text, vector in zip(texts, vectors, strict=True):
        shown = ", ".join(f"{value: .4f}" for value in vector[:6])
        more = ", ..." if len(vector) > 6 else ""
        line = f"{text}\n  [{shown}{more}]  {len(vector)} dimensions\n"
        yield line.encode(sys.stdout.encoding or "utf-8", "replace")
