"""A server in this process: loads models, follows their versions, and answers TensorFlow Serving's calls."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from ..contract import WARMUP_FILE
from ..listening import joined
from .failure import Failure
from .grpc.server import listen
from .lifecycle import Manager
from .metrics import Metrics, microseconds_since
from .model import Model
from .options import ModelSettings, ServerOptions
from .predict import predict
from .registry import Registry, Servable, newest_version
from .rest.server import HttpServer
from .start import Plan, StartError, one_line

_LOG = logging.getLogger(__name__)

#: Wildcard address -> loopback address by which this machine reaches the server.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class EmbeddedServer:
    """Serves models as ``rawbert serve`` does: polls for versions, and swaps them during calls.

    The constructor loads the models. Calls are answered between :meth:`start` and :meth:`stop`, or within the ``with``
    block::

        with EmbeddedServer("minilm", "models/minilm") as server, Client(server.address, model="minilm") as client:
            client.embed(["plain strings go in"])

    Args:
        model_name: name of the model for clients.
        base_path: folder that contains one folder per version; not needed with ``model_config_file``.
        port: gRPC port; 0 takes a free one.
        host: address to listen on; ``0.0.0.0`` for all.
        plan: the flags, if they were read already; all other arguments are then ignored.
        flags: further fields of :class:`~rawbert.serving.server.options.ServerOptions`.

    Raises:
        StartError: the folder cannot be served, or the port is in use.
    """

    def __init__(
        self,
        model_name: str = "default",
        base_path: str | os.PathLike[str] = "",
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        plan: Plan | None = None,
        **flags: Any,
    ) -> None:
        self._plan = plan or Plan(
            ServerOptions(model_name=model_name, model_base_path=os.fspath(base_path), port=port, host=host, **flags)
        )
        options = self._plan.options
        self._registry: Registry[Model] = Registry()
        self.metrics = Metrics()
        self._manager = Manager(self._registry, self._load, options)
        self._ended = threading.Event()
        self._reloading = threading.Lock()
        try:
            self._reload(self._plan.models)
            #: Port on which it listens.
            self.port: int
            self._server, self._threads, self.port = listen(self._plan, self._registry, self.metrics, self._replace)
            self._http = HttpServer(self._plan, self._registry, self.metrics) if options.rest_api_port else None
        except (Failure, StartError) as error:
            folders = ", ".join(map(str, self._manager.failed()))
            self._manager.stop()
            what = f"{folders} cannot be loaded: " if folders else ""
            raise StartError(what + one_line(error).replace("model(s)", "servable(s)", 1)) from error
        # During the start, for which a user waits, no attempt was repeated.
        self._manager.retries = 5 if options.max_num_load_retries is None else options.max_num_load_retries
        #: Port of HTTP; 0 without HTTP.
        self.rest_port = options.rest_api_port
        #: ``host:port`` for clients of this machine.
        self.address = joined(_LOOPBACK.get(options.host, options.host), self.port)
        if options.model_config_file and options.model_config_file_poll_wait_seconds > 0:
            threading.Thread(target=self._poll_config, name="rawbert-config", daemon=True).start()

    @property
    def versions(self) -> list[tuple[str, int]]:
        """Names and versions of all models that answer calls."""
        return self._registry.loaded()

    @property
    def version(self) -> int:
        """The newest version of the model, for a server with one model."""
        return self._registry.loaded()[-1][1]

    def _load(self, name: str, version: int, folder: Path) -> Model:
        options = self._plan.options
        start, status = time.monotonic(), "fail"
        try:
            model = Model(name, folder, options, self._plan.batching, self.metrics)
            status = "success"
            self.metrics.load_latency.labels(folder).inc(microseconds_since(start))
        finally:
            self.metrics.load_attempts.labels(folder, status).inc()
        try:
            if options.enable_model_warmup and (folder / WARMUP_FILE).is_file():
                self._warm_up(Servable(name, version, model), folder)
        except Exception:
            model.close()
            raise
        return model

    def _warm_up(self, servable: Servable[Model], folder: Path) -> None:
        start, times = time.monotonic(), max(1, self._plan.options.num_request_iterations_for_warmup)
        for record in servable.runnable.warmup():
            for _ in range(times):
                predict(servable, record.model_spec.signature_name, record.inputs, record.output_filter)
        self.metrics.warmup_latency.labels(folder, "OK").observe(microseconds_since(start))

    def _replace(self, configured: dict[str, ModelSettings]) -> None:
        models = self._plan.on_this_machine(configured)
        for name in sorted(models.keys() - self._manager.configured()):
            try:
                newest_version(models[name].base_path)
            except Failure as error:
                # In TensorFlow Serving, the call would wait for a version, and all later calls after it.
                raise Failure(error.code, f"model {name}: {error}") from error
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
            except Exception as error:
                # Any fault of the file: polling must continue, because a correct file may follow.
                _LOG.error("the configuration is unchanged: %s", one_line(error))

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to answer calls."""
        self._server.start()
        if self._http:
            self._http.start()

    def stop(self, grace: float | None = 30.0) -> bool:
        """Refuse new calls, let running calls end, and free the models.

        Args:
            grace: maximum seconds for running calls; ``None`` cuts them off at once.

        Returns:
            Whether all calls have ended. A model cannot be interrupted: a computation that still runs is finished
            without an answer, and its model is freed afterwards.
        """
        self._ended.set()
        if self._http:
            self._http.refuse(grace)
        self._server.stop(grace).wait()
        if self._http:
            self._http.stop()
        self._manager.stop(1.0)  # seconds for answered and ended calls to release their models
        return not self._threads.calls and not (self._http and self._http.threads.calls)
