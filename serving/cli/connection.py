"""The connection to a server: the common options of all commands that call one."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from google.protobuf import text_format

from ..client.client import Client
from ..client.settings import DEFAULT_TIMEOUT, TLS, CallOptions
from ..errors import ModelNotFound, ServingError, served_models
from ..wire.protos import ModelServerConfig
from .files import BadFile

_Command = TypeVar("_Command", bound=Callable[..., Any])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
#: The default models.config of `rawbert export` and `rawbert serve models`, in the working folder.
MODELS_CONFIG: Final = Path("models", "models.config")
#: The servers' name for a model that is started without a name.
UNNAMED: Final = "default"


class OldSpelling(click.Option):
    """An option whose last spelling is an old one: accepted, but not shown in the help."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The help record without the old spelling."""
        shown, self.opts = self.opts, self.opts[:-1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = shown


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _headers(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Any:
    pairs = []
    for value in values:
        name, colon, rest = value.partition(":")
        if not colon:
            raise click.BadParameter(f"{name!r}: give NAME:VALUE, such as authorization:'Bearer ...'")
        pairs.append((name.strip().lower(), rest.strip()))
    try:
        return CallOptions(metadata=pairs).metadata
    except (TypeError, ValueError) as error:
        raise click.BadParameter(str(error)) from error


_MODEL = [
    click.option("--address", "-a", default="localhost:8500", show_default=True, envvar="RAWBERT_ADDRESS",
                 show_envvar=True, help="Host and gRPC port."),
    click.option("--model", "-m", envvar="RAWBERT_MODEL", show_envvar=True,
                 help="Model name on the server.  [default: its only model, or that of models/models.config]"),
]  # fmt: skip
_MODELS = [
    click.option("--address", "-a", multiple=True, default=["localhost:8500"], show_default=True,
                 envvar="RAWBERT_ADDRESS", show_envvar=True,
                 help="Host and gRPC port; repeatable: several servers are called in turn."),
    click.option("--model", "-m", "models", multiple=True, envvar="RAWBERT_MODEL", show_envvar=True,
                 help="Model name on the servers; repeatable.  [default: all models of the servers]"),
]  # fmt: skip
_CALL = [
    click.option("--version", type=int, help="Version of the model.  [default: the newest available]"),
    click.option("--version-label", help="Label of a version, such as stable."),
    click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=DEFAULT_TIMEOUT, show_default=True,
                 help="Maximum seconds of one call, including the wait for a server that does not answer."),
]  # fmt: skip
_SECURITY = [
    click.option("--header", "metadata", multiple=True, metavar="NAME:VALUE", callback=_headers,
                 help="Header of every call, such as authorization:'Bearer ...'; repeatable."),
    click.option("--tls", is_flag=True, help="Connect over TLS; any option below does too."),
    click.option("--tls-ca", type=FILE, help="PEM certificates of the server's authority.  [default: public ones]"),
    click.option("--tls-cert", type=FILE, help="PEM certificate of this client, if the server requests one."),
    click.option("--tls-key", type=FILE, help="PEM private key of that certificate."),
    click.option("--tls-server-name", help="Name to expect in the server's certificate.  [default: ADDRESS's]"),
]  # fmt: skip


_JOB = [
    click.option("--concurrency", type=click.IntRange(min=1), default=4, show_default=True, help="Calls at once."),
    click.option("--restart", is_flag=True, help="Start again instead of continuing an interrupted run."),
    click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists."),
    click.option("--format", "form", type=click.Choice(["auto", "json", "text"]), default="auto", show_default=True,
                 help="json: one object per line; text: a short form for people; auto: text at a terminal, else json."),
    click.option("--json", "form", flag_value="json", help="The same as --format json."),
]  # fmt: skip


def job_options(command: _Command) -> _Command:
    """The options of all commands that write answers to standard output or to a file."""
    return _with(_JOB, command)


def connection_options(command: _Command) -> _Command:
    """Add all connection options; :func:`client_settings` reads them."""
    return _with(_MODEL, _with(_CALL, security_options(command)))


def several_connection_options(command: _Command) -> _Command:
    """Add the options for several servers and models; :func:`several_settings` reads them."""
    return _with(_MODELS, _with(_CALL, security_options(command)))


def security_options(command: _Command) -> _Command:
    """Add the options for TLS and headers."""
    return _with(_SECURITY, command)


def _with(options: Sequence[Callable[[_Command], _Command]], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


def client_settings(options: dict[str, Any]) -> dict[str, Any]:
    """The settings of a client from the options: with ``tls``, and with the only model if none was named.

    Raises:
        click.UsageError: no model was named, and there is not exactly one.
        ServingError: the server did not answer the question for its models.
        ValueError: as :class:`TLS` does.
    """
    rest = _with_tls(options)
    return {**rest, "model": rest["model"] or only_model(rest)}


def several_settings(options: dict[str, Any]) -> dict[str, Any]:
    """:func:`client_settings` of several servers and models: ``address`` and ``models`` are lists.

    Raises:
        click.UsageError: as :func:`client_settings`.
    """
    rest = _with_tls(options)
    return {**rest, "address": list(rest["address"]), "models": list(rest["models"]) or _all_models(rest)}


def _with_tls(options: dict[str, Any]) -> dict[str, Any]:
    rest = dict(options)
    if rest["version"] is not None and rest["version_label"] is not None:
        raise click.UsageError("give --version or --version-label, not both")
    wanted = rest.pop("tls")
    files = {name: rest.pop(f"tls_{file}") for file, name in (("ca", "ca"), ("cert", "certificate"), ("key", "key"))}
    name = rest.pop("tls_server_name")
    wanted = wanted or name is not None or any(file is not None for file in files.values())
    rest["tls"] = TLS(**files, server_name=name) if wanted else None
    return rest


def _all_models(settings: dict[str, Any]) -> list[str]:
    """The models of models.config that the server has, or those of the server's error text."""
    kept = {key: settings[key] for key in ("address", "timeout", "tls", "metadata")}
    found, told = list[str](), list[str]()
    for name in _listed() or [UNNAMED]:
        with Client(model=name, **kept) as client:
            try:
                client.status()
                found.append(name)
            except ModelNotFound as error:
                told = served_models(error)
    if not (found or told):
        raise click.UsageError("give --model NAME, or RAWBERT_MODEL: the server does not list its models")
    return found or told


def only_model(settings: dict[str, Any]) -> str:
    """The default model: the one of models.config, or the server's only one."""
    listed = _listed()
    name = listed[0] if len(listed) == 1 else UNNAMED
    kept = {key: settings[key] for key in ("address", "timeout", "tls", "metadata")}
    with Client(model=name, **kept) as client:
        try:
            client.status()
            return name
        except ModelNotFound as error:
            served = served_models(error)
    if len(served) == 1:
        return served[0]
    if served:
        known = f"the server at {settings['address']} has the models {', '.join(served)}"
    else:
        known = f"the server at {settings['address']} has no model {name!r}, and does not list its models"
        known += f"; {MODELS_CONFIG} lists {', '.join(listed)}" if listed else ""
    raise click.UsageError(f"give --model NAME, or RAWBERT_MODEL: {known}")


def _listed() -> list[str]:
    """Names of the models in models/models.config; empty if it cannot be read."""
    try:
        config = text_format.Parse(MODELS_CONFIG.read_text(encoding="utf-8"), ModelServerConfig())
    except (OSError, ValueError, text_format.ParseError):
        return []
    return [model.name for model in config.model_config_list.config]


@contextmanager
def one_line() -> Iterator[None]:
    """End the command without a traceback after an error or Ctrl-C."""
    try:
        yield
    except (ServingError, ValueError, BadFile) as error:
        # A server's message about a graph has line breaks.
        raise click.ClickException(" ".join(map(str.strip, str(error).splitlines()))) from error
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader has gone: nothing more can be written, not even by the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
