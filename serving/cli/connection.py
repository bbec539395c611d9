"""The connection to a server at the terminal: options that all commands which call one share."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from ..client.settings import DEFAULT_TIMEOUT, TLS
from ..errors import ServingError
from .files import BadFile

_Command = TypeVar("_Command", bound=Callable[..., Any])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_OPTIONS = [
    click.option("--address", "-a", default="localhost:8500", show_default=True, envvar="RAWBERT_ADDRESS",
                 show_envvar=True, help="Host and gRPC port."),
    click.option("--model", "-m", default="default", show_default=True, envvar="RAWBERT_MODEL", show_envvar=True,
                 help="Model name on the server."),
    click.option("--version", type=int, help="Version of the model.  [default: the newest available]"),
    click.option("--version-label", help="Label of a version, such as stable."),
    click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=DEFAULT_TIMEOUT, show_default=True,
                 help="Seconds that one call may take; a server that does not answer is waited for as long."),
    click.option("--tls", is_flag=True, help="Connect over TLS; any option below does too."),
    click.option("--tls-ca", type=FILE, help="PEM certificates that sign the server's.  [default: public]"),
    click.option("--tls-cert", type=FILE, help="PEM certificate of this client, where it is asked for one."),
    click.option("--tls-key", type=FILE, help="PEM private key of that certificate."),
    click.option("--tls-server-name", help="Name to expect in the server's certificate.  [default: ADDRESS's]"),
]  # fmt: skip


def connection_options(command: _Command) -> _Command:
    """The options; :func:`client_settings` reads them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def client_settings(options: dict[str, Any]) -> dict[str, Any]:
    """The settings of a client, with ``tls`` in place of the options.

    Raises:
        ValueError: as :class:`TLS` does.
    """
    rest = dict(options)
    wanted = rest.pop("tls")
    files = {name: rest.pop(f"tls_{file}") for file, name in (("ca", "ca"), ("cert", "certificate"), ("key", "key"))}
    name = rest.pop("tls_server_name")
    wanted = wanted or name is not None or any(file is not None for file in files.values())
    return {**rest, "tls": TLS(**files, server_name=name) if wanted else None}


@contextmanager
def one_line() -> Iterator[None]:
    """Errors, and Ctrl-C, end the command without a traceback."""
    try:
        yield
    except (ServingError, ValueError, BadFile) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader has gone. Nothing more can be said, not even by the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
