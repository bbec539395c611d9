"""``rawbert stack``: TensorFlow Serving, a gateway and metrics, with docker compose.

Exit codes: 0 done, 1 something is missing or failed, 2 wrong usage, 130 interrupted.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from .compose import PROFILES, NoCompose, Stack, is_stack, write
from .output import print_error, print_lines
from .stack_checks import missing

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Addresses of the services: profile -> (name, setting of the port, hint for its use).
_ADDRESSES = {
    "cpu": ("gRPC", "RAWBERT_GRPC_PORT", "rawbert embed --address {address} TEXT"),
    "gpu": ("gRPC", "RAWBERT_GRPC_PORT", "rawbert embed --address {address} TEXT"),
    "gateway": ("gateway", "RAWBERT_GATEWAY_PORT", "http://{address}/v1 for OpenAI clients"),
    "observability": ("Grafana", "RAWBERT_GRAFANA_PORT", "http://{address}"),
    "tls": ("TLS", "RAWBERT_TLS_PORT", "the same with certificates: see `rawbert certs --help`"),
}


def _folder(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and not is_stack(value):
        raise click.BadParameter(f"{value} has no docker-compose.yml of rawbert: rawbert stack init {value} writes it")
    return value


def _where(command: _Command) -> _Command:
    return click.option(
        "--folder", type=click.Path(file_okay=False, path_type=Path), callback=_folder, metavar="FOLDER",
        help="Folder of `rawbert stack init`.  [default: the working folder, if it has these files; else the files in "
        "rawbert's distribution]",
    )(command)  # fmt: skip


@contextmanager
def _docker() -> Iterator[None]:
    try:
        yield
    except NoCompose as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(130)


def _done(status: int, what: str) -> None:
    """End the command if compose failed; compose has printed the reason."""
    if status == 130:
        sys.exit(130)
    if status:
        raise click.ClickException(f"docker compose {what} failed, with status {status}")


@click.group()
def stack() -> None:
    """Run TensorFlow Serving, a gateway, Prometheus and Grafana with docker compose."""


@stack.command()
@click.argument("models", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--profile", "profiles", multiple=True, type=click.Choice(PROFILES),
              help="Profile to run; repeatable.  [default: COMPOSE_PROFILES of .env, cpu]")  # fmt: skip
@_where
def up(models: Path | None, profiles: tuple[str, ...], folder: Path | None) -> None:
    """Start the services of some profiles, and leave them running.

    MODELS is the folder with models.config; by default RAWBERT_MODELS of .env, ./models. All missing parts are reported
    before anything starts.

    \b
    Examples:
      rawbert stack up
      rawbert stack up models --profile gpu --profile gateway --profile observability
    """
    chosen = Stack(folder, profiles, models)
    with _docker():
        if problems := missing(chosen):
            for problem in problems:
                print_error(problem)
            sys.exit(1)
        _done(chosen.run("up", "--detach"), "up")
        print_lines(answering(chosen))


@stack.command()
@click.option("--volumes", is_flag=True, help="Also delete the data of Prometheus and Grafana, and the GPU's kernels.")
@_where
def down(volumes: bool, folder: Path | None) -> None:
    """Stop all services after their calls in flight, and remove their containers."""
    with _docker():
        _done(Stack(folder).run("down", *(["--volumes"] if volumes else []), everything=True), "down")


@stack.command()
@_where
def status(folder: Path | None) -> None:
    """List the containers with their health and their ports."""
    with _docker():
        _done(Stack(folder).run("ps", everything=True), "ps")


@stack.command()
@click.argument("services", nargs=-1)
@click.option("--follow", "-f", is_flag=True, help="Continue with new lines.")
@click.option("--tail", default="100", show_default=True, metavar="N", help="Number of lines of each service, or all.")
@_where
def logs(services: tuple[str, ...], follow: bool, tail: str, folder: Path | None) -> None:
    """Show the logs of SERVICES, or of all services."""
    options = ["--tail", tail, *(["--follow"] if follow else [])]
    with _docker():
        _done(Stack(folder).run("logs", *options, *services, everything=True), "logs")


@stack.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace files that differ.")
def init(folder: Path, overwrite: bool) -> None:
    """Write docker-compose.yml, .env and the files that they use into a folder, for editing."""
    try:
        written = write(folder, overwrite)
    except FileExistsError as error:
        raise click.ClickException(f"{error}; --overwrite replaces it. Nothing was written.") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    print_lines([f"written   {path}" for path in written] or ["all files are up to date"])


def answering(stack: Stack) -> list[str]:
    """Lines with the addresses of the services."""
    lines = []
    for profile in stack.profiles:
        if profile in _ADDRESSES:
            name, port, said = _ADDRESSES[profile]
            address = f"localhost:{stack.settings[port]}"
            lines.append(f"{name:<10}{address:<18}{said.format(address=address)}")
    return [*lines, "rawbert stack status shows whether they are healthy; rawbert stack down stops them."]
