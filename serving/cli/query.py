"""``rawbert status`` and ``metadata``: a server's information about a model.

Exit codes: 0 answered, 1 the call failed, 2 wrong usage, 130 interrupted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from ..client.client import Client
from ..contract import INPUT_SHAPE, declared_outputs
from .connection import client_settings, connection_options, json_option, one_line
from .output import print_json, print_lines, shape_of


@contextmanager
def _client(**settings: Any) -> Iterator[Client]:
    """A client whose errors end the command with one line."""
    with one_line(), Client(**client_settings(settings)) as client:
        yield client


@click.command()
@connection_options
@click.option("--wait", is_flag=True, help="Wait up to --timeout until a version, or the requested one, is available.")
@json_option
def status(wait: bool, as_json: bool, **settings: Any) -> None:
    """Show the versions of a model on the server, and their state.

    With --wait the exit code is 0 when the version is available, and 1 if it is not in time.

    \b
    Example:
      rawbert status --model minilm --version-label stable --wait --timeout 60
    """
    with _client(**settings) as client:
        versions = client.wait_until_ready(timeout=settings["timeout"]) if wait else client.status()
    if as_json:
        print_json([asdict(version) for version in versions])
        return
    for version in versions:
        reason = f"  {version.error_message}" if version.error_message else ""
        print_lines([f"{client.model}  version {version.version}  {version.state}{reason}"])


@click.command()
@connection_options
@json_option
def metadata(as_json: bool, **settings: Any) -> None:
    """Show the signatures of a model, with their inputs and outputs."""
    with _client(**settings) as client:
        model = client.metadata()
    if as_json:
        print_json(asdict(model))
        return
    print_lines([f"{model.name}  version {model.version}"])
    inputs = {name: list(signature.inputs) for name, signature in model.signatures.items()}
    for name, signature in model.signatures.items():
        print_lines([name])
        shapes = {output.name: output.shape for output in declared_outputs(name, inputs)}
        for spec in signature.inputs.values():
            print_lines([f"  input   {spec.name}  {spec.dtype} {shape_of(spec.shape, INPUT_SHAPE if shapes else ())}"])
        for spec in signature.outputs.values():
            print_lines([f"  output  {spec.name}  {spec.dtype} {shape_of(spec.shape, shapes.get(spec.name, ()))}"])
