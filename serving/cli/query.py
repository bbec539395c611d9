"""``rawbert status`` and ``metadata``: what a server says of a model.

Exit codes: 0 answered, 1 the call failed, 2 wrong usage, 130 interrupted.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from ..client.client import Client
from .connection import client_settings, connection_options, one_line


@contextmanager
def _client(**settings: Any) -> Iterator[Client]:
    """A client, whose errors end the command with one line."""
    with one_line(), Client(**client_settings(settings)) as client:
        yield client


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
