"""A server in this process: loads models, keeps up with their versions, answers TensorFlow Serving's calls."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from .admission import ANYBODY, Admission, CallThreads
from .failure import Failure
from .grpc.service import ModelService, PredictionService, predict
from .lifecycle import Manager
from .model import Model
from .options import ModelSettings, ServerOptions, parse_models
from .registry import BasePathError, Registry, Servable, newest_version
from .start import Plan, StartError, joined, one_line

__all__ = ["EmbeddedServer"]

_LOG = logging.getLogger(__name__)

#: Calls at once without --grpc_max_threads. TensorFlow Serving refuses beyond some 4 for each core; ours wait.
_MOST_CALLS = 256

#: Seconds in which what was answered or cut off comes to its end.
_AFTER_GRACE = 1.0
#: Refusals that may wait to be sent.
_MOST_REFUSALS = 1024
_THREADS_FOR_HEALTH = 4

_OPTIONS = [
    # TensorFlow Serving takes and sends what fits into a protobuf message; gRPC's own limit is 4 MB. A request of text
    # grows a hundredfold in a tokenizer: its size is bounded, and can be by --grpc_channel_arguments.
    ("grpc.max_receive_message_length", 128 << 20),
    ("grpc.max_send_message_length", -1),
    # Or two servers share a port, and callers meet one or the other.
    ("grpc.so_reuseport", 0),
]


class EmbeddedServer:
    """Serves models as ``rawbert serve`` does: polls for versions, and swaps them while calls go on.

    The models are loaded by the constructor; calls are answered between :meth:`start` and :meth:`stop`, or within the
    ``with`` block::

        with EmbeddedServer("minilm", "models/minilm") as server, Client(server.address, model="minilm") as client:
            client.embed(["plain strings go in"])

    Args:
        model_name: name by which clients ask for it.
        base_path: folder that holds one folder a version; may be left out with ``model_config_file``.
        port: gRPC port; 0 takes a free one.
        host: address to listen on; ``0.0.0.0`` for all.
        flags: further fields of :class:`~rawbert.serving.server.options.ServerOptions`.

    Raises:
        StartError: nothing can be served from there, or the port is taken.
    """

    def __init__(
        self,
        model_name: str = "default",
        base_path: str | os.PathLike[str] = "",
        port: int = 0,
        host: str = "127.0.0.1",
        **flags: Any,
    ) -> None:
        options = ServerOptions(
            model_name=model_name, model_base_path=os.fspath(base_path), port=port, host=host, **flags
        )
        self._begin(Plan(options))

    @classmethod
    def of(cls, plan: Plan) -> EmbeddedServer:
        """A server as planned.

        Raises:
            StartError: a model cannot be loaded, or the port has been taken since.
        """
        server = cls.__new__(cls)
        server._begin(plan)
        return server

    def _begin(self, plan: Plan) -> None:
        options = plan.options
        self._plan = plan
        self._registry: Registry[Model] = Registry()
        retries = options.max_num_load_retries
        self._manager = Manager(
            self._registry,
            self._load,
            options.file_system_poll_wait_seconds,
            5 if retries is None else retries,
            options.load_retry_interval_micros / 1e6,
            0 if retries is None else retries,
            max(1, options.num_load_threads),
            max(1, options.num_load_threads, os.cpu_count() or 1),
        )
        self._manager.start()
        self._ended = threading.Event()
        self._reloading = threading.Lock()
        try:
            self._reload(plan.models)
            self._listen()
        except Failure as failure:
            folders = ", ".join(map(str, self._manager.failed()))
            self._manager.stop()
            what = f"{folders} cannot be loaded: " if folders else ""
            raise StartError(what + one_line(failure).replace("model(s)", "servable(s)", 1)) from failure
        except StartError:
            self._manager.stop()
            raise
        if options.model_config_file and options.model_config_file_poll_wait_seconds > 0:
            threading.Thread(target=self._poll_config, name="rawbert-config", daemon=True).start()

    @property
    def versions(self) -> list[tuple[str, int]]:
        """Name and version of all that answer calls."""
        return self._registry.loaded()

    @property
    def version(self) -> int:
        """The version that answers for the model of a server of one."""
        return self._registry.loaded()[-1][1]

    def _listen(self) -> None:
        options = self._plan.options
        if options.grpc_max_threads:
            most = max(1, options.grpc_max_threads - 1)
            refusal = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        else:
            most = _MOST_CALLS
            refusal = Failure(
                grpc.StatusCode.UNAVAILABLE,
                f"Server Threadpool Exhausted: the server has {most} calls at once, and takes no more",
            )
        threads = self._threads = CallThreads(most + _THREADS_FOR_HEALTH)
        self._server = grpc.server(
            threads,
            interceptors=[Admission(threads, most, refusal)],
            options=[*_OPTIONS, *self._plan.channel_arguments],
            # Refusals are quicker than arrivals; if ever they were not, gRPC refuses by itself beyond this.
            maximum_concurrent_rpcs=most + _MOST_REFUSALS,
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(self._registry, options.enable_serialization_as_tensor_content), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self._registry, self._replace), self._server
        )
        if options.enable_grpc_healthcheck_service:
            servicer = health.HealthServicer()
            for name in ("", "ModelService", "PredictionService"):
                servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        try:
            #: Port on which it listens.
            self.port: int = self._server.add_insecure_port(joined(options.host, options.port))
            if options.grpc_socket_path:
                self._server.add_insecure_port(f"unix:{options.grpc_socket_path}")
        except RuntimeError as error:
            raise StartError(f"cannot listen: {error}") from error
        #: ``host:port`` for clients of this machine.
        self.address = joined(_LOOPBACK.get(options.host, options.host), self.port)

    def _load(self, name: str, version: int, folder: Path) -> Model:
        options = self._plan.options
        model = Model(folder, options, self._plan.batching)
        if options.enable_model_warmup:
            servable = Servable(name, version, model)
            try:
                model.warm_up(
                    lambda request: predict(servable, request, ANYBODY),
                    options.num_request_iterations_for_warmup,
                )
            except Failure:
                model.close()
                raise
        return model

    def _replace(self, config: Any) -> None:
        models = parse_models(config)
        for name in sorted(models.keys() - self._manager.configured()):
            try:
                newest_version(models[name].base_path)
            except BasePathError as error:
                # TensorFlow Serving lets the call wait for a version, and all later ones behind it.
                raise Failure(grpc.StatusCode.FAILED_PRECONDITION, f"model {name}: {error}") from error
        self._reload(models)

    def _reload(self, models: dict[str, ModelSettings]) -> None:
        with self._reloading:
            self._registry.set_labels(
                {name: settings.labels for name, settings in models.items()},
                self._plan.options.allow_version_labels_for_unavailable_models,
            )
            self._manager.configure(models)

    def _poll_config(self) -> None:
        while not self._ended.wait(self._plan.options.model_config_file_poll_wait_seconds):
            try:
                self._reload(self._plan.configured())
            except Failure as failure:
                _LOG.error("the configuration stays as it is: %s", one_line(failure))

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

    def stop(self, grace: float | None = 30.0) -> bool:
        """Refuse new calls, let those in flight finish, free the models.

        Args:
            grace: seconds that they may take; ``None`` cuts them off at once.

        Returns:
            Whether all of them have ended. A model cannot be interrupted: what computes even now does so for nobody,
            and its model is freed after it.
        """
        self._ended.set()
        self._server.stop(grace).wait()
        self._manager.stop(_AFTER_GRACE)
        return not self._threads.calls


#: The address by which this machine reaches what listens on all of them.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
