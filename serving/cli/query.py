"""``rawbert embed``, ``status`` and ``metadata``: the client at the terminal.

Exit codes: 0 answered, 1 the call failed, 2 wrong usage, 130 interrupted.
"""

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import click

from ..client.client import Client
from .connection import FILE, NEW_FILE, client_settings, connection_options, one_line
from .files import INPUTS, ROWS, Row, Source
from .job import OUTPUTS, Job, json_line

#: Lines read from standard input before they are sent.
_LINES = 64


@contextmanager
def _client(**settings: Any) -> Iterator[Client]:
    """A client, whose errors end the command with one line."""
    with one_line(), Client(**client_settings(settings)) as client:
        yield client


@click.command()
@click.argument("texts", nargs=-1)
@connection_options
@click.option("--signature", default="embed", show_default=True, help="Signature that answers an embedding.")
@click.option("--input", "-i", "source", type=FILE, help="File of texts: .txt (a text a line), .jsonl, .csv, .parquet.")
@click.option(
    "--output", "-o", type=NEW_FILE, help="File of vectors: .npy, .jsonl, .parquet. It appears when it is whole."
)
@click.option("--input-format", type=click.Choice(["text", "jsonl", "csv", "parquet"]),
              help="[default: by the name of the file; text on standard input]")  # fmt: skip
@click.option("--column", default="text", show_default=True, help="Field or column that holds the text.")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Field or column to carry into the output; repeatable.")
@click.option("--keep-all", is_flag=True, help="Carry all fields or columns into the output.")
@click.option("--max-batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Texts in a call.")
@click.option("--concurrency", type=click.IntRange(min=1), default=4, show_default=True, help="Calls at once.")
@click.option("--restart", is_flag=True, help="Begin anew where an earlier run was interrupted.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT where it exists.")
@click.option(
    "--format", "form", type=click.Choice(["auto", "json", "text"]), default="auto", show_default=True,
    help="json: one object a line; text: a short form for people; auto: text at a terminal, else json.",
)  # fmt: skip
def embed(
    texts: tuple[str, ...],
    signature: str,
    source: Path | None,
    output: Path | None,
    input_format: str | None,
    column: str,
    keep: tuple[str, ...],
    keep_all: bool,
    restart: bool,
    overwrite: bool,
    form: str,
    **settings: Any,
) -> None:
    """Embed TEXTS, a file, or standard input where there is neither.

    A job into a file that was interrupted goes on where it was when the same command is given again, with the same
    input. Output lines and rows hold text, what is kept, and embedding; .npy holds the vectors alone.

    \b
    Examples:
      rawbert embed --model minilm "plain strings go in" "vectors come out"
      rawbert embed --model minilm < lines.txt > vectors.jsonl
      rawbert embed --model minilm --input questions.csv --column question --output vectors.npy
      rawbert embed --model minilm --input pages.parquet --keep id --keep url --output vectors.parquet
    """
    if texts and source is not None:
        raise click.UsageError("give TEXTS or --input, not both")
    if input_format is None:
        input_format = "text" if source is None else _by_name(source, INPUTS, "--input")
    if (keep or keep_all) and (texts or input_format == "text"):
        raise click.UsageError("there are no columns to keep beside lines of text: give JSONL, CSV or Parquet")
    target = None if output is None else _by_name(output, OUTPUTS, "--output")
    if (keep or keep_all) and target == "npy":
        raise click.UsageError(".npy holds the vectors alone: to keep columns, name the output .jsonl or .parquet")
    given = Source(source, input_format, column, tuple(dict.fromkeys(keep)), keep_all)
    if output is not None and target is not None:
        if output.exists() and not overwrite:
            raise click.ClickException(f"{output} exists; replace it with --overwrite")
        if not output.parent.is_dir():
            raise click.ClickException(f"there is no folder {output.parent}: make it first")
        _to_file(texts, given, Job(output, target, {"signature": signature}), restart, settings)
        return
    rows = ((text, {}) for text in texts) if texts else given.rows()
    if form == "auto":
        form = "text" if sys.stdout.isatty() else "json"
    # What is typed is answered line by line, what is piped in soon; a file is sent several parts at a time.
    size = ROWS if source is not None else _LINES
    if not texts and source is None and sys.stdin.isatty():
        click.echo("a text a line; Ctrl-D ends", err=True)
        size = 1
    version = None
    with _client(**settings) as client:
        while block := list(islice(rows, size)):
            # One stream is of one version.
            vectors, version = client.embed(
                [text for text, _ in block], return_version=True, signature_name=signature, version=version
            )
            for row, vector in zip(block, vectors, strict=True):
                click.echo(_line(row, vector, form))


def _by_name(path: Path, forms: dict[str, str], option: str) -> str:
    form = forms.get(path.suffix.lower())
    if form is None:
        more = ", or give --input-format" if option == "--input" else ""
        raise click.BadParameter(f"{path.name}: the name must end in {', '.join(forms)}{more}", param_hint=option)
    return form


def _to_file(texts: tuple[str, ...], source: Source, job: Job, restart: bool, settings: dict[str, Any]) -> None:
    """Embed into a file; it goes on where an earlier run with the same input was."""
    job.made_from |= {key: settings[key] for key in ("model", "version", "version_label")}
    try:
        with one_line():
            if restart:
                job.discard()
            source = _lasting(texts, source, job)
            job.made_from |= {"column": source.column, "format": source.form}
            job.resume()
            if job.done:
                click.echo(f"going on after {job.done} texts", err=True)
            if job.version is not None:
                settings = {**settings, "version": job.version, "version_label": None}
            signature = job.made_from["signature"]
            with _client(**settings) as client, _progress(job.done) as progress:
                rest = islice(source.texts(), job.done, None)
                job.append(client.embed_iter(rest, return_version=True, signature_name=signature), progress)
                if not job.done:
                    job.width = client.embed([], signature_name=signature).shape[1]
            job.finish(source)
            click.echo(f"{job.output}: {job.done} texts, {job.width} dimensions", err=True)
    except BaseException:
        if job.done and job.partial.exists():
            click.echo(f"{job.done} texts are done; the same command goes on from there", err=True)
        raise


def _lasting(texts: tuple[str, ...], source: Source, job: Job) -> Source:
    """The input as a file that can be read again, known by what it is."""
    if source.path is not None:
        stat = source.path.stat()
        job.made_from |= {"input": str(source.path.resolve()), "size": stat.st_size, "time": stat.st_mtime_ns}
        return source
    if texts:
        lines = "".join(json.dumps({source.column: text}) + "\n" for text in texts)
        return replace(source, path=job.keep_input(io.BytesIO(lines.encode())), form="jsonl")
    if source.form == "parquet":
        raise click.UsageError("Parquet is read from its end, and standard input has none: give a file with --input")
    return replace(source, path=job.keep_input(sys.stdin.buffer), name="standard input")


@contextmanager
def _progress(done: int) -> Iterator[Callable[[int], None]]:
    """A count and a rate at a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} texts"), TextColumn("{task.fields[rate]}"))
    begun = time.monotonic()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, completed=done, rate="")
        count = 0

        def advance(more: int) -> None:
            nonlocal count
            count += more
            if count % 64 == 0:
                rate = count / max(time.monotonic() - begun, 1e-6)
                bar.update(task, completed=done + count, rate=f"{rate:,.0f}/s")

        yield advance


def _line(row: Row, vector: Any, form: str) -> str:
    if form == "json":
        return json_line(row, vector)
    text, _ = row
    shown = ", ".join(f"{value: .4f}" for value in vector[:6])
    more = ", ..." if len(vector) > 6 else ""
    return f"{text}\n  [{shown}{more}]  {len(vector)} dimensions"


@click.command()
@connection_options
@click.option(
    "--wait", is_flag=True, help="Wait until a version, or the one asked for, is available; at most --timeout."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(wait: bool, as_json: bool, **settings: Any) -> None:
    """Show which versions of a model the server has, and their state.

    With --wait the exit code is 0 once the version answers, and 1 where it does not in time.

    \b
    Example:
      rawbert status --model minilm --version-label stable --wait --timeout 60
    """
    with _client(**settings) as client:
        versions = client.wait_until_ready(timeout=settings["timeout"]) if wait else client.status()
    if as_json:
        click.echo(json.dumps([asdict(version) for version in versions], indent=2))
        return
    for version in versions:
        reason = f"  {version.error_message}" if version.error_message else ""
        click.echo(f"{settings['model']}  version {version.version}  {version.state}{reason}")


@click.command()
@connection_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def metadata(as_json: bool, **settings: Any) -> None:
    """Show the signatures of a model, with their inputs and outputs."""
    with _client(**settings) as client:
        model = client.metadata()
    if as_json:
        click.echo(json.dumps(asdict(model), indent=2))
        return
    click.echo(f"{model.name}  version {model.version}")
    for name, signature in model.signatures.items():
        click.echo(name)
        for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
            for spec in specs.values():
                shape = "of any rank" if spec.shape is None else list(spec.shape)
                click.echo(f"  {kind:<6}  {spec.name}  {spec.dtype} {shape}")
