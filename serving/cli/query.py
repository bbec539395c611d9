"""``rawbert embed``, ``status`` and ``metadata``: the client at the terminal.

Exit codes: 0 answered, 1 the call failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any, TypeVar

import click

from ..client import DEFAULT_TIMEOUT, Client
from ..errors import ServingError

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
    except (ServingError, ValueError) as error:
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
    "--format", "form", type=click.Choice(["auto", "json", "text"]), default="auto", show_default=True,
    help="json: one object a line; text: a short form for people; auto: text at a terminal, else json.",
)  # fmt: skip
def embed(texts: tuple[str, ...], signature: str, form: str, **settings: Any) -> None:
    """Embed TEXTS, or every line of standard input where there are none.

    \b
    Examples:
      rawbert embed --model minilm "plain strings go in" "vectors come out"
      rawbert embed --model minilm < lines.txt > vectors.jsonl
    """
    if form == "auto":
        form = "text" if sys.stdout.isatty() else "json"
    with _client(**settings) as client:
        for part in _parts(texts):
            for text, vector in zip(part, client.embed(part, signature_name=signature), strict=True):
                click.echo(_line(text, vector, form))


def _parts(texts: tuple[str, ...]) -> Iterable[list[str]]:
    if texts:
        yield list(texts)
        return
    # Bytes that are no UTF-8 become U+FFFD here, as they would in the model.
    lines = (line.decode("utf-8", "replace").rstrip("\r\n") for line in sys.stdin.buffer)
    while part := list(islice(lines, _LINES)):
        yield part


def _line(text: str, vector: Any, form: str) -> str:
    if form == "json":
        # The shortest decimals that give the same float32 back.
        numbers = ", ".join(map(str, vector))
        return f'{{"text": {json.dumps(text, ensure_ascii=False)}, "embedding": [{numbers}]}}'
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
