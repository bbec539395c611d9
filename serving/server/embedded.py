"""A server in this process: loads models, keeps up with their versions, answers TensorFlow Serving's calls."""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from .admission import ANYBODY, Admission, CallThreads
from .config import Batching, ModelSettings, ServerOptions, parse_batching, parse_models
from .failure import Failure
from .lifecycle import Manager
from .model import Model
from .registry import BasePathError, Registry, Servable, find_versions, newest_version
from .service import ModelService, PredictionService, predict

__all__ = ["EmbeddedServer", "StartError"]

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


class StartError(Exception):
    """The server cannot start; the message says why, in one line."""


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
        flags: further fields of :class:`~rawbert.serving.server.config.ServerOptions`.

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
        self._options = options
        self._batching = _batching(options)
        self._moved: set[Path] = set()
        try:
            models = self._configured()
            for settings in models.values():
                if not settings.policy.choose(find_versions(settings.base_path)):
                    newest_version(settings.base_path)
                    raise StartError(f"{settings.base_path} has no version that the policy of {settings.name} asks for")
        except (BasePathError, Failure) as error:
            raise StartError(_one_line(error)) from error
        _check_port(host, port)
        _check_socket(options.grpc_socket_path)
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
            self._reload(models)
            self._listen(host, port)
        except Failure as failure:
            folders = ", ".join(map(str, self._manager.failed()))
            self._manager.stop()
            what = f"{folders} cannot be loaded: " if folders else ""
            raise StartError(what + _one_line(failure).replace("model(s)", "servable(s)", 1)) from failure
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

    def _listen(self, host: str, port: int) -> None:
        options = self._options
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
            options=[*_OPTIONS, *_channel_arguments(options.grpc_channel_arguments)],
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
            self.port: int = self._server.add_insecure_port(_joined(host, port))
            if options.grpc_socket_path:
                self._server.add_insecure_port(f"unix:{options.grpc_socket_path}")
        except RuntimeError as error:
            raise StartError(f"cannot listen: {error}") from error
        #: ``host:port`` for clients of this machine.
        self.address = _joined(_LOOPBACK.get(host, host), self.port)

    def _load(self, name: str, version: int, folder: Path) -> Model:
        options = self._options
        model = Model(folder, options, self._batching)
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

    def _configured(self) -> dict[str, ModelSettings]:
        """What the flags say is to be served."""
        options = self._options
        if options.model_config_file:
            try:
                file = Path(options.model_config_file).absolute()
                models = parse_models(file.read_text(encoding="utf-8"))
            except (Failure, OSError, UnicodeDecodeError) as error:
                raise Failure(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Invalid protobuf file: '{options.model_config_file}': {error}"
                ) from error
            return {name: self._on_this_machine(settings, file.parent) for name, settings in models.items()}
        if not options.model_base_path:
            raise StartError("give --model_base_path or --model_config_file: neither says what to serve")
        if not options.model_name:
            raise StartError("the model name is empty")
        return {options.model_name: ModelSettings(options.model_name, Path(options.model_base_path).absolute())}

    def _on_this_machine(self, settings: ModelSettings, folder: Path) -> ModelSettings:
        """The model as it lies beside models.config, where its base path is that of a container."""
        here = folder / settings.base_path.name
        if settings.base_path.exists() or not here.is_dir():
            return settings
        if here not in self._moved:
            self._moved.add(here)
            _LOG.info("%s is not on this machine: %s is read from %s", settings.base_path, settings.name, here)
        return replace(settings, base_path=here)

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
                self._options.allow_version_labels_for_unavailable_models,
            )
            self._manager.configure(models)

    def _poll_config(self) -> None:
        while not self._ended.wait(self._options.model_config_file_poll_wait_seconds):
            try:
                self._reload(self._configured())
            except Failure as failure:
                _LOG.error("the configuration stays as it is: %s", _one_line(failure))

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


def _batching(options: ServerOptions) -> Batching | None:
    """Parameters for all models."""
    path = options.batching_parameters_file
    if not options.enable_batching:
        if path:
            raise StartError("--batching_parameters_file is set without --enable_batching")
        return None
    if not path:
        return Batching()
    try:
        return parse_batching(Path(path).read_text(encoding="utf-8"))
    except (Failure, OSError, UnicodeDecodeError) as error:
        raise StartError(f"{path}: {error}") from error


def _channel_arguments(text: str) -> list[tuple[str, Any]]:
    arguments: list[tuple[str, Any]] = []
    for each in filter(None, text.split(",")):
        name, equals, value = each.partition("=")
        if not equals:
            raise StartError(f"--grpc_channel_arguments: {each!r} is not name=value")
        arguments.append((name, int(value) if value.lstrip("-").isdigit() else value))
    return arguments


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


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


def _check_socket(path: str) -> None:
    """See that nobody listens on a Unix socket, whose name gRPC would take from them.

    Raises:
        StartError: somebody does, or there can be no such socket.
    """
    if not path:
        return
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        if Path(path).parent.is_dir():
            return
        raise StartError(f"cannot listen on unix:{path}: its folder does not exist") from error
    except OSError as error:
        raise StartError(f"cannot listen on unix:{path}: {error.strerror or error}") from error
    raise StartError(f"cannot listen on unix:{path}: Address already in use")
