"""``rawbert embed``, ``status`` and ``metadata``: the client at the terminal.

Exit codes: 0 answered, 1 the call failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import click

from ..client import DEFAULT_TIMEOUT, Client
from ..errors import ServingError
from . import files

__all__ = ["embed", "metadata", "status"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
#: Lines read from standard input before they are sent.
_LINES = 64


def _connection(command: _Command) -> _Command:
    """Options that all queries share."""
    for option in reversed(
        [
            click.option("--address", "-a", default="localhost:8500", show_default=True, help="Host and gRPC port."),
            click.option("--model", "-m", default="default", show_default=True, help="Model name on the server."),
            click.option("--version", type=int, help="Version of the model.  [default: the newest available]"),
            click.option("--version-label", help="Label of a version, such as stable."),
            click.option(
                "--timeout", type=click.FloatRange(min=0, min_open=True), default=DEFAULT_TIMEOUT, show_default=True,
                help="Seconds that one call may take.",
            ),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@contextmanager
def _client(**settings: Any) -> Iterator[Client]:
    """A client, whose errors end the command with one line."""
    try:
        with Client(**settings) as client:
            yield client
    except (ServingError, ValueError, files.BadFile) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader has gone. Nothing more can be said, not even by the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


@click.command()
@click.argument("texts", nargs=-1)
@_connection
@click.option("--signature", default="embed", show_default=True, help="Signature that answers an embedding.")
@click.option(
    "--input",
    "-i",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of texts: .txt (a text a line), .jsonl, .csv, .parquet.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of vectors: .npy, .jsonl, .parquet. It appears when it is whole.",
)
@click.option("--input-format", type=click.Choice(["text", "jsonl", "csv", "parquet"]), help="[default: by its name]")
@click.option("--column", default="text", show_default=True, help="Field or column that holds the text.")
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
    restart: bool,
    overwrite: bool,
    form: str,
    **settings: Any,
) -> None:
    """Embed TEXTS, a file, or every line of standard input where there are none.

    A job from file to file that was interrupted goes on where it was when the same command is given again.

    \b
    Examples:
      rawbert embed --model minilm "plain strings go in" "vectors come out"
      rawbert embed --model minilm < lines.txt > vectors.jsonl
      rawbert embed --model minilm --input questions.csv --column question --output vectors.npy
    """
    if texts and source is not None:
        raise click.UsageError("give TEXTS or --input, not both")
    input_format = input_format or (_by_name(source, files.INPUTS, "--input") if source is not None else None)
    try:
        if output is not None:
            target = _by_name(output, files.OUTPUTS, "--output")
            if output.exists() and not overwrite:
                raise click.ClickException(f"{output} exists; replace it with --overwrite")
            given = None if source is None else (source, input_format or "")
            _to_file(texts, given, column, output, target, signature, restart, settings)
            return
    except files.BadFile as error:
        raise click.ClickException(str(error)) from error
    if form == "auto":
        form = "text" if sys.stdout.isatty() else "json"
    with _client(**settings) as client:
        for part in _parts(texts) if source is None else _grouped(files.read(source, input_format or "", column)):
            for text, vector in zip(part, client.embed(part, signature_name=signature), strict=True):
                click.echo(_line(text, vector, form))


def _parts(texts: tuple[str, ...]) -> Iterable[list[str]]:
    if texts:
        yield list(texts)
        return
    # Bytes that are no UTF-8 become U+FFFD here, as they would in the model.
    lines = (line.decode("utf-8", "replace").rstrip("\r\n") for line in sys.stdin.buffer)
    yield from _grouped(lines)


def _grouped(lines: Iterator[str]) -> Iterator[list[str]]:
    while part := list(islice(lines, _LINES)):
        yield part


def _by_name(path: Path, forms: dict[str, str], option: str) -> str:
    form = forms.get(path.suffix.lower())
    if form is None:
        raise click.BadParameter(f"{path.name}: the name must end in {', '.join(forms)}", param_hint=option)
    return form


def _to_file(
    texts: tuple[str, ...],
    given: tuple[Path, str] | None,
    column: str,
    output: Path,
    form: str,
    signature: str,
    restart: bool,
    settings: dict[str, Any],
) -> None:
    """Embed into a file; from a file, it goes on where an earlier run was."""
    made_from: dict[str, Any] = {key: settings[key] for key in ("model", "version", "version_label")}
    made_from |= {"signature": signature, "column": column}
    if given is None:
        # What was typed or piped in cannot be read again: it is kept, and there is nothing to go on from.
        kept = [line for part in _parts(texts) for line in part]
    else:
        stat = given[0].stat()
        made_from |= {"input": str(given[0].resolve()), "size": stat.st_size, "time": stat.st_mtime_ns}

    def source() -> Iterator[str]:
        return iter(kept) if given is None else files.read(*given, column)

    job = files.Job(output, made_from)
    if restart or given is None:
        job.discard()
    job.resume()
    if job.done:
        click.echo(f"going on after {job.done} texts", err=True)
    if job.version is not None:
        settings = {**settings, "version": job.version, "version_label": None}
    try:
        with _client(**settings) as client, _progress(job.done) as progress:
            job.append(client.embed_iter(islice(source(), job.done, None), signature_name=signature), progress)
            if not job.done:
                job.width = client.embed([], signature_name=signature).shape[1]
        job.finish(form, source())
    finally:
        if output.exists() and not job.partial.exists():
            click.echo(f"{output}: {job.done} texts, {job.width} dimensions", err=True)
        elif given is not None and job.done:
            click.echo(f"{job.done} texts are done; the same command goes on from there", err=True)


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


def _line(text: str, vector: Any, form: str) -> str:
    if form == "json":
        return files.json_line(text, vector)
    shown = ", ".join(f"{value: .4f}" for value in vector[:6])
    more = ", ..." if len(vector) > 6 else ""
    return f"{text}\n  [{shown}{more}]  {len(vector)} dimensions"


@click.command()
@_connection
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool, **settings: Any) -> None:
    """Show which versions of a model the server has, and their state."""
    with _client(**settings) as client:
        versions = client.status()
    if as_json:
        click.echo(json.dumps([asdict(version) for version in versions], indent=2))
        return
    for version in versions:
        reason = f"  {version.error_message}" if version.error_message else ""
        click.echo(f"{settings['model']}  version {version.version}  {version.state}{reason}")


@click.command()
@_connection
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
