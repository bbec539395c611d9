"""``rawbert serve``: the embedded server at the terminal.

Flags are spelled as tensorflow_model_server spells them. Exit codes: 0 stopped by SIGTERM or SIGINT, 1 could not
start, 2 wrong usage.
"""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from queue import SimpleQueue

import click

__all__ = ["serve"]

#: Seconds that calls in flight may take after the signal to stop.
_GRACE = 30.0


@click.command()
@click.option("--model_name", default="default", show_default=True, help="Name by which clients ask for the model.")
@click.option(
    "--model_base_path", required=True, type=click.Path(path_type=Path),
    help="Folder that holds one folder a version; the largest number is served.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8500, show_default=True, help="gRPC port; 0: a free one."
)
@click.option(
    "--host", default="0.0.0.0", show_default=True, metavar="ADDRESS",
    help="Address to listen on: 127.0.0.1 for this machine only. (tensorflow_model_server has no such flag; it "
    "listens on all, and so does this.)",
)  # fmt: skip
def serve(model_name: str, model_base_path: Path, port: int, host: str) -> None:
    """Serve a model over gRPC as TensorFlow Serving does, without Docker.

    \b
    Example:
      rawbert serve --model_name minilm --model_base_path models/minilm --port 8500
    """
    stop = _stop_signal()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It would log a traceback for every request that is no protobuf message; the caller is told by its status.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    try:
        # Here and not above: --help shall not wait for TensorFlow.
        from ..server import EmbeddedServer, StartError
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("rawbert"):
            raise
        raise click.ClickException(str(error)) from error
    click.echo(f"Loading {model_name} from {model_base_path} ...", err=True)
    try:
        server = EmbeddedServer(model_name, model_base_path, port, host)
    except StartError as error:
        raise click.ClickException(str(error)) from error
    if stop.empty():
        server.start()
        click.echo(f"Serving {model_name} version {server.version}", err=True)
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"Running gRPC ModelServer at {shown}:{server.port} ...", err=True)
        stop.get()
        click.echo("Stopping: calls in flight may finish; a second signal ends them.", err=True)
    server.stop(_GRACE)


def _stop_signal() -> SimpleQueue[int]:
    """A queue into which SIGTERM and SIGINT put their number; a second signal ends the process at once."""
    # Not an Event: the handler runs in the thread that waits, and Event.set() takes a lock that Event.wait() may hold
    # at that very moment. SimpleQueue.put() is made to be called from a handler.
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
