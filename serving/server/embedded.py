"""A server in this process: loads the newest version of a model and answers TensorFlow Serving's calls on a port."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from .registry import BasePathError, Registry, Servable, newest_version
from .runtime import RuntimeFailure, SavedModel
from .service import ModelService, PredictionService

__all__ = ["EmbeddedServer", "StartError"]

_OPTIONS = [
    # TensorFlow Serving takes and sends what fits into a protobuf message; gRPC's own limit is 4 MB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Or two servers share a port, and callers meet one or the other.
    ("grpc.so_reuseport", 0),
]


class StartError(Exception):
    """The server cannot start; the message says why, in one line."""


class EmbeddedServer:
    """Serves the newest version of one model, as ``rawbert serve`` does.

    The model is loaded by the constructor; calls are answered between :meth:`start` and :meth:`stop`, or within the
    ``with`` block::

        with EmbeddedServer("minilm", "models/minilm") as server, Client(server.address, model="minilm") as client:
            client.embed(["plain strings go in"])

    Args:
        model_name: name by which clients ask for it.
        base_path: folder that holds one folder a version.
        port: gRPC port; 0 takes a free one.
        host: address to listen on; ``0.0.0.0`` for all.
        threads: calls that run at once; further ones wait.

    Raises:
        StartError: nothing can be served from there, or the port is taken.
    """

    def __init__(
        self,
        model_name: str,
        base_path: str | os.PathLike[str],
        port: int = 0,
        host: str = "127.0.0.1",
        threads: int | None = None,
    ) -> None:
        if not model_name:
            raise StartError("the model name is empty")
        _check_port(host, port)
        try:
            self.version, folder = newest_version(Path(base_path))
            self._model = SavedModel(folder)
        except BasePathError as error:
            raise StartError(str(error)) from error
        except RuntimeFailure as failure:
            raise StartError(f"{folder} cannot be loaded: {' '.join(str(failure).split())}") from failure
        self.model_name = model_name
        registry: Registry[SavedModel] = Registry()
        registry.add(Servable(model_name, self.version, self._model))
        workers = threads or max(8, 4 * (os.cpu_count() or 1))
        self._server = grpc.server(ThreadPoolExecutor(workers, thread_name_prefix="rawbert-call"), options=_OPTIONS)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(registry), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(registry), self._server)
        try:
            #: Port on which it listens.
            self.port: int = self._server.add_insecure_port(_joined(host, port))
        except RuntimeError as error:
            self._model.close()
            raise StartError(f"cannot listen on {_joined(host, port)}: {error}") from error
        #: ``host:port`` for clients of this machine.
        self.address = _joined(_LOOPBACK.get(host, host), self.port)

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to answer calls."""
        self._server.start()

    def stop(self, grace: float | None = 30.0) -> None:
        """Refuse new calls, let those in flight finish, free the model.

        Args:
            grace: seconds that they may take; ``None`` cuts them off at once.
        """
        self._server.stop(grace).wait()
        self._model.close()


#: The address by which this machine reaches what listens on all of them.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_port(host: str, port: int) -> None:
    """See that a port is free: before a model is loaded for nothing, and with a reason, which gRPC does not give.

    Raises:
        StartError: it is taken, or the host is not of this machine.
    """
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                # As gRPC does; a port on which somebody listens stays taken.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen()
    except OSError as error:
        raise StartError(f"cannot listen on {_joined(host, port)}: {error.strerror}") from error
