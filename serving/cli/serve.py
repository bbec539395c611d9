"""``rawbert serve``: the command that runs the embedded server.

Flags have the names of tensorflow_model_server's. Exit codes: 0 stopped by SIGTERM or SIGINT, 1 could not start, 2
wrong usage.
"""

import logging
import os
import signal
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import click
from click.core import ParameterSource

from ..listening import joined
from .flags import model_server_flags
from .log import log_to_stderr
from .tensorflow_log import drop_chatter

_LOG = logging.getLogger(__name__)

#: Default flags for a folder of models: those flags of docker-compose.yml that change answers.
STACK = {
    "model_config_file_poll_wait_seconds": 5,
    "allow_version_labels_for_unavailable_models": True,
    "enable_batching": True,
    "enable_per_model_batching_parameters": True,
    "enable_serialization_as_tensor_content": True,
    "enable_grpc_healthcheck_service": True,
}


@click.command()
@click.argument("models", required=False, type=click.Path(file_okay=False, path_type=Path))
@model_server_flags
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
    help="Address to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for all. (tensorflow_model_server has no "
    "such flag and listens on all.)",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Also print the log of TensorFlow's own C++ code.")
@click.option("--log_format", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="Format of the log on standard error; json: one object per line.")  # fmt: skip
@click.option("--version", is_flag=True, help="Print the versions of rawbert and TensorFlow.")
@click.pass_context
def serve(
    context: click.Context, /, models: Path | None, log_format: str, verbose: bool, version: bool, **flags: Any
) -> None:
    """Serve models over gRPC and HTTP as TensorFlow Serving does, without Docker.

    MODELS is a folder with a models.config, as `rawbert export` writes it. It is served with the settings of
    docker-compose.yml: with batching, and with labels that follow `rawbert promote`. Explicit flags have precedence.

    Flags are those of tensorflow_model_server 2.20.0: --name=value or --name value. Unknown or unsupported flags are
    refused.

    \b
    Examples:
      rawbert serve models --port 8500
      rawbert serve --model_name minilm --model_base_path models/minilm --port 8500
    """
    if version:
        click.echo(f"rawbert: {_release('rawbert')}\nTensorFlow Library: {_release('tensorflow')}")
        return
    if models is not None:
        _as_the_stack(context, models, flags)
    stop = _stop_signal()
    if verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0")
    else:
        drop_chatter()
    log_to_stderr(log_format, _LOG.name)
    for name in context.ensure_object(list):
        _LOG.warning("--%s has no effect in rawbert serve", name)
    # grpc would log a traceback for every request of a health watch that is not a protobuf message; its caller gets a
    # status in any case.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    try:
        # Imported here so that --help does not wait for it.
        from ..server.options import ServerOptions
        from ..server.start import Plan, StartError
    except ModuleNotFoundError as error:
        raise click.ClickException(str(error)) from error
    try:
        # Most faults of the settings are found before TensorFlow is loaded, which takes seconds.
        plan = Plan(ServerOptions(**flags))
        _LOG.info("Loading %s ...", flags["model_config_file"] or flags["model_base_path"])
        from ..server import EmbeddedServer

        server = EmbeddedServer(plan=plan)
    except StartError as error:
        raise click.ClickException(str(error)) from error
    if stop.empty():
        server.start()
        for name, number in server.versions:
            _LOG.info("Serving %s version %s", name, number)
        _LOG.info("Running gRPC ModelServer at %s ...", joined(flags["host"], server.port))
        if flags["rest_api_port"]:
            _LOG.info("Exporting HTTP/REST API at:%s ...", joined(flags["host"], flags["rest_api_port"]))
        _wait(stop)
        _LOG.info("Stopping: calls in flight may finish; a second signal ends them.")
    if not server.stop(grace=30.0):
        _LOG.warning("calls that took longer than 30 s were cut off")
    # Not by return: Python would wait for threads that still compute for those calls, and unload TensorFlow.
    logging.shutdown()
    os._exit(0)


def _as_the_stack(context: click.Context, models: Path, flags: dict[str, Any]) -> None:
    given = {name for name in flags if context.get_parameter_source(name) != ParameterSource.DEFAULT}
    for name in ("model_config_file", "model_base_path", "model_name"):
        if name in given:
            raise click.UsageError(f"--{name} and MODELS both name the models to serve: leave one out")
    file = models / "models.config"
    if not models.is_dir():
        raise click.ClickException(
            f"there is no folder {models}: create it with rawbert export SOURCE --output {models}/NAME"
        )
    if not file.is_file():
        raise click.ClickException(
            f"{file} does not exist: rawbert export SOURCE --output {models / 'NAME'} writes it; a single model is "
            f"served with its folder: rawbert serve --model_base_path {models}"
        )
    flags.update({name: value for name, value in STACK.items() if name not in given}, model_config_file=str(file))


def _release(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _stop_signal() -> SimpleQueue[int]:
    """A queue that receives the number of a SIGTERM or SIGINT; a second signal ends the process at once."""
    # Not an Event: the handler runs in the thread that waits, and Event.set() takes a lock that Event.wait() may hold
    # at that moment. SimpleQueue.put() may be called from a handler.
    stop: SimpleQueue[int] = SimpleQueue()
    stopping = False

    def handle(number: int, frame: object) -> None:
        nonlocal stopping
        if stopping:
            os._exit(128 + number)
        stopping = True
        stop.put(number)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _wait(stop: SimpleQueue[int]) -> None:
    # With a timeout of a second: if another thread gets the signal, its handler runs when this thread wakes.
    while True:
        with suppress(Empty):
            stop.get(timeout=1)
            return
