"""``rawbert gateway``: the command that runs the gateway.

Exit codes: 0 stopped by SIGTERM or SIGINT, 1 could not start, 2 wrong usage.
"""

import ipaddress
import logging
import math
import os
import socket
import time
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click
import uvicorn

from ..gateway import Limits, create_app
from ..gateway.keys import read_keys
from ..gateway.state import State
from ..listening import bound, joined
from .connection import FILE, one_line, several_connection_options, several_settings
from .log import log_to_stderr

_LOG = logging.getLogger(__name__)
#: Seconds after their deadline for which requests may continue when the gateway ends.
_GRACE: Final = 5
_DEFAULTS: Final = Limits()


def _aliases(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, equals, target in pairs:
        if not (name and equals and target):
            raise click.BadParameter(
                f"{name + equals + target!r}: give NAME=MODEL, such as text-embedding-3-small=minilm"
            )
    return {name: target for name, _, target in pairs}


def _key_file(context: click.Context, parameter: click.Parameter, file: Path | None) -> Path | None:
    try:
        if file is not None:
            read_keys(file)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return file


@click.command()
@several_connection_options
@click.option("--alias", "aliases", multiple=True, metavar="NAME=MODEL", callback=_aliases,
              help="Additional name for a model, also NAME=MODEL@LABEL or NAME=MODEL@VERSION; repeatable.")  # fmt: skip
@click.option("--logits", multiple=True, metavar="MODEL", help="Model whose scores are logits; /rerank and /predict "
              "convert them to probabilities; repeatable.")  # fmt: skip
@click.option("--on-truncation", type=click.Choice(["fail", "ignore"]), default="ignore", show_default=True,
              help="Texts over the length limit: fail refuses them, ignore truncates them.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Address to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for all.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True,
              help="TCP port for HTTP; 0 for a free one.")  # fmt: skip
@click.option("--api-key", "api_keys", multiple=True, envvar="RAWBERT_API_KEYS", show_envvar=True, metavar="KEY",
              help="Key that callers must send (Authorization: Bearer KEY); repeatable. Other users see "
              "the command line: prefer the file, or the environment.")  # fmt: skip
@click.option("--api-key-file", type=FILE, callback=_key_file,
              help="File with API keys, one per line; read again when it changes.")  # fmt: skip
@click.option("--max-body-bytes", "body_bytes", type=click.IntRange(min=1), default=_DEFAULTS.body_bytes,
              show_default=True, help="Maximum size of a request.")  # fmt: skip
@click.option("--max-texts", "texts", type=click.IntRange(min=1), default=_DEFAULTS.texts, show_default=True,
              help="Maximum number of texts, or documents, in a request.")  # fmt: skip
@click.option("--requests-per-minute", type=click.IntRange(min=0), default=_DEFAULTS.requests_per_minute,
              help="Rate limit for each key, or without keys for each address.  [default: no limit]")  # fmt: skip
@click.option("--max-concurrent-requests", "concurrent_requests", type=click.IntRange(min=1),
              default=_DEFAULTS.concurrent_requests, show_default=True,
              help="Maximum number of requests in progress.")  # fmt: skip
@click.option("--ssl-certfile", type=FILE, help="PEM certificate chain; the gateway then uses HTTPS.")
@click.option("--ssl-keyfile", type=FILE, help="PEM private key of the certificate.")
@click.option("--drain", type=click.FloatRange(min=0), default=0, show_default=True,
              help="Seconds after SIGTERM during which /health returns 503 and other requests are answered, so that "
              "load balancers send no more.")  # fmt: skip
@click.option("--access-log", is_flag=True, help="Log one line per request.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="Format of the log on standard error; json: one object per line.")  # fmt: skip
def gateway(
    aliases: dict[str, str],
    logits: tuple[str, ...],
    on_truncation: str,
    host: str,
    port: int,
    api_keys: tuple[str, ...],
    api_key_file: Path | None,
    body_bytes: int,
    texts: int,
    requests_per_minute: int,
    concurrent_requests: int,
    ssl_certfile: Path | None,
    ssl_keyfile: Path | None,
    drain: float,
    access_log: bool,
    log_format: str,
    **settings: Any,
) -> None:
    """Answer HTTP requests of the OpenAI, Cohere and text-embeddings-inference APIs with a model server.

    Existing clients only need the gateway's URL: http://localhost:8080/v1 for OpenAI's, http://localhost:8080 for the
    others. The gateway calls the server like rawbert's other clients: with the same versions, labels, retries and
    deadlines. A description of all routes is at /docs.

    \b
    Examples:
      rawbert gateway --address bert:8500 --model minilm
      rawbert gateway -a bert-1:8500 -a bert-2:8500 -m minilm -m reranker --alias text-embedding-3-small=minilm
      rawbert gateway -m minilm --host 0.0.0.0 --api-key-file keys.txt --requests-per-minute 600
    """
    log_to_stderr(log_format, _LOG.name)
    if (ssl_certfile is None) != (ssl_keyfile is None):
        raise click.UsageError("give both --ssl-certfile and --ssl-keyfile")
    with one_line():
        app = create_app(
            aliases=aliases,
            logits=logits,
            api_keys=api_keys,
            api_key_file=api_key_file,
            limits=Limits(body_bytes, texts, requests_per_minute, concurrent_requests),
            truncate=on_truncation == "ignore",
            **several_settings(settings),
        )
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings["timeout"]) + _GRACE,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
    )
    try:
        config.load()
    except OSError as error:  # also ssl's errors
        raise click.ClickException(
            f"{ssl_certfile} and {ssl_keyfile} are not a certificate and its key: {error}; give PEM files"
        ) from error
    try:
        listener = bound(host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    _warn(host, bool(api_keys or api_key_file), ssl_certfile is not None)
    if access_log:
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    for name, served in app.state.gateway.models.names.items():
        _LOG.info("Serving %s%s", name, "" if name == served.model else f", which is {aliases[name]}")
    url = f"{'https' if ssl_certfile else 'http'}://{joined(host, listener.getsockname()[1])}"
    _Server(config, app.state.gateway, drain, url).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that continues for a while after the first signal, and ends at once after the second."""

    def __init__(self, config: uvicorn.Config, state: State, drain: float, url: str) -> None:
        super().__init__(config)
        self._state, self._drain, self._url, self._until = state, drain, url, 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _LOG.info("Running the gateway at %s ...", self._url)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._state.draining:
            os._exit(128 + sig)
        self._state.draining, self._until = True, time.monotonic() + self._drain
        _LOG.info("Stopping: requests in flight may finish; a second signal ends them.")

    async def on_tick(self, counter: int) -> bool:
        if self._state.draining and time.monotonic() >= self._until:
            self.should_exit = True
        return await super().on_tick(counter)


def _warn(host: str, keys: bool, tls: bool) -> None:
    """Warn about risks, if other machines can reach the gateway."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and not keys:
        _LOG.warning(
            "--host %s without a key: anyone who reaches the port can use the models; see --api-key-file", host
        )
    elif not local and not tls:
        _LOG.warning("keys and texts are sent in plain text: see --ssl-certfile, or use a proxy with TLS in front")
