"""TLS at the terminal: options that all commands which call a server share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..client.settings import TLS

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def tls_options(command: _Command) -> _Command:
    """The options; :func:`tls_of` reads them."""
    for option in reversed(
        [
            click.option("--tls", is_flag=True, help="Connect over TLS; any option below does too."),
            click.option("--tls-ca", type=_FILE, help="PEM certificates that sign the server's.  [default: public]"),
            click.option("--tls-cert", type=_FILE, help="PEM certificate of this client, where it is asked for one."),
            click.option("--tls-key", type=_FILE, help="PEM private key of that certificate."),
            click.option("--tls-server-name", help="Name to expect in the server's certificate.  [default: ADDRESS's]"),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def tls_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a client, with ``tls`` in place of the options.

    Raises:
        ValueError: as :class:`TLS` does.
    """
    rest = dict(settings)
    wanted = rest.pop("tls")
    files = {
        name: rest.pop(f"tls_{option}") for option, name in (("ca", "ca"), ("cert", "certificate"), ("key", "key"))
    }
    name = rest.pop("tls_server_name")
    wanted = wanted or name is not None or any(file is not None for file in files.values())
    return {**rest, "tls": TLS(**files, server_name=name) if wanted else None}
