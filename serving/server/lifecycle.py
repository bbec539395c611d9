"""Loading and unloading of versions according to the configuration and the files on disk.

Each model has a keeper: a thread that polls its base path and follows TensorFlow Serving's availability-preserving
policy. Versions that are no longer wanted are unloaded when a wanted version answers calls, or when none is wanted.
Keepers do not wait for each other, nor for the calls of an unloaded version.
"""

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from .failure import Failure
from .model import Model
from .options import FOREVER, ModelSettings, ServerOptions
from .registry import Registry, Servable, State, find_versions

_LOG = logging.getLogger(__name__)
_NEVER = threading.TIMEOUT_MAX


class Manager:
    """Loads and unloads the versions of a registry.

    Args:
        registry: the versions that answer calls.
        load: function that loads and warms up a version of a model from its folder.
        options: the server's flags.

    Attributes:
        retries: number of further attempts to load a version; may be changed at any time.
    """

    def __init__(
        self, registry: Registry[Model], load: Callable[[str, int, Path], Model], options: ServerOptions
    ) -> None:
        self.registry, self.load = registry, load
        poll = options.file_system_poll_wait_seconds
        self.pause = poll if poll > 0 else _NEVER
        self.retries = options.max_num_load_retries or 0
        self.retry_seconds = min(max(0.0, options.load_retry_interval_micros / 1e6), FOREVER)
        self.turns = threading.Semaphore(max(1, options.num_load_threads or os.cpu_count() or 1))
        self.stopping = False
        self._keepers: dict[str, _Keeper] = {}

    def configure(self, models: Mapping[str, ModelSettings], wait: bool = True) -> None:
        """Serve these models, and no others. Two threads must not call it at the same time.

        Returns when the versions of new models answer calls; old versions are removed later.

        Raises:
            Failure: UNKNOWN; a version of a new model could not be loaded. The configuration is applied nevertheless.
        """
        new = [name for name in models if name not in self.configured()]
        for name in models.keys() - self._keepers.keys():
            self._keepers[name] = _Keeper(self, name)
        for name, keeper in self._keepers.items():
            if keeper.settings or name in models:
                keeper.serve(models.get(name))
        if not wait:
            return
        for name in new:
            self._keepers[name].settled.wait()
        broken = [(name, version, failure) for name in new for version, failure in self._keepers[name].failures()]
        if broken:
            listed = "".join(
                f"{{{{name: {name} version: {version}}} due to error: {failure.code.name}: {failure}}}, "
                for name, version, failure in broken
            )
            raise Failure(grpc.StatusCode.UNKNOWN, f"{len(broken)} model(s) did not become available: {{{listed}}}")

    def configured(self) -> set[str]:
        """Names of the configured models."""
        return {name for name, keeper in list(self._keepers.items()) if keeper.settings}

    def failed(self) -> list[Path]:
        """Folders of the versions that could not be loaded."""
        keepers = self._keepers.values()
        return [keeper.wanted[version] for keeper in keepers for version, _ in keeper.failures()]

    def stop(self, seconds: float = 3600.0) -> bool:
        """End the threads, and free the loaded versions.

        Args:
            seconds: maximum time for calls in flight.

        Returns:
            Whether all versions are freed. A version with calls is freed after them.
        """
        self.stopping = True
        keepers = list(self._keepers.values())
        for thread in [keeper.serve(None) for keeper in keepers]:
            thread.join()
        end = time.monotonic() + seconds
        threads = [thread for keeper in keepers for thread in list(keeper.freeing.values())]
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)


@dataclass
class _Load:
    """A wanted version that does not answer calls yet."""

    attempts: int = 0
    due: float = 0.0  # time of the next attempt; _NEVER after the last one
    failure: Failure | None = None  # result of the last attempt


class _Keeper:
    """Manages the versions of one model, in a thread that ends when the model is no longer served.

    Attributes:
        settings: the model to serve; ``None`` for none.
        settled: set while each wanted version answers calls or has finally failed.
        wanted: folders of the wanted versions.
        freeing: threads that wait for the last calls of a version and then free it.
    """

    def __init__(self, manager: Manager, name: str) -> None:
        self._manager, self._registry, self._model = manager, manager.registry, name
        self.settings: ModelSettings | None = None
        self.settled = threading.Event()
        self.wanted: dict[int, Path] = {}
        self.freeing: dict[int, threading.Thread] = {}
        self._loads: dict[int, _Load] = {}
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._lock = threading.Lock()

    def serve(self, settings: ModelSettings | None) -> threading.Thread:
        """Set new settings; returns the thread that applies them."""
        with self._lock:
            self.settings = settings
            self.settled.clear()
            self._wake.set()
            if not self._thread:
                thread = threading.Thread(target=self._run, name=f"rawbert-model-{self._model}", daemon=True)
                thread.start()
                self._thread = thread
            return self._thread

    def failures(self) -> list[tuple[int, Failure]]:
        """Versions that could not be loaded, and the reasons."""
        return [(version, load.failure) for version, load in sorted(self._loads.items()) if load.failure]

    def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                pause = self._step()
            except Exception:
                # Any error: the loop must continue, because further versions may appear.
                _LOG.exception("model %s could not be updated; the next attempt is in a second", self._model)
                pause = 1.0
            with self._lock:
                if self.settled.is_set() and not self._target:
                    self._thread = None
                    return
            self._wake.wait(pause)

    @property
    def _target(self) -> ModelSettings | None:
        return None if self._manager.stopping else self.settings

    def _step(self) -> float:
        """Read the folder, and take one step; returns the seconds until the next step."""
        self.wanted = self._look()
        for version in self._loads.keys() - self.wanted.keys():
            # A failed version has already ended, and keeps its reason.
            if self._loads.pop(version).due != _NEVER:
                self._registry.mark(self._model, version, State.END)
        loaded = {version for _, version in self._registry.loaded(self._model)}
        for version in self.wanted.keys() - self._loads.keys() - loaded - self.freeing.keys():
            self._loads[version] = _Load()
            self._registry.mark(self._model, version, State.START)
        self._unload(self.wanted)
        for version in sorted(self._loads, reverse=True):
            if self._loads[version].due <= time.monotonic():
                self._attempt(version, self.wanted[version])
                return 0.0
        soonest = min((load.due for load in self._loads.values()), default=_NEVER)
        with self._lock:
            # A version that is wanted again while it is freed is loaded afterwards.
            if soonest == _NEVER and not self.wanted.keys() & self.freeing.keys() and not self._wake.is_set():
                self.settled.set()
        return min(self._manager.pause, max(0.0, soonest - time.monotonic()))

    def _look(self) -> dict[int, Path]:
        """The wanted versions and their folders."""
        settings = self._target
        if settings is None:
            return {}
        try:
            wanted = settings.policy.choose(find_versions(settings.base_path))
        except Failure as error:
            _LOG.warning("model %s: %s", self._model, error)
            return self.wanted  # as in TensorFlow Serving, a missing base path does not unload versions
        if missing := settings.policy.versions - wanted.keys():
            _LOG.warning("model %s: version(s) %s of its policy are missing", self._model, sorted(missing))
        return wanted

    def _unload(self, wanted: Mapping[int, Path]) -> None:
        loaded = [version for _, version in self._registry.loaded(self._model)]
        unwanted = [version for version in loaded if version not in wanted]
        if wanted and len(unwanted) == len(loaded):
            unwanted = unwanted[:-1]  # the largest one stays until a wanted version answers calls
        for version in unwanted:
            servable = self._registry.withdraw(self._model, version)
            self.freeing[version] = threading.Thread(target=self._free, args=(servable,), daemon=True)
            self.freeing[version].start()

    def _attempt(self, version: int, folder: Path) -> None:
        """Load a version."""
        load, started = self._loads[version], time.monotonic()
        model: Model | None = None
        failure: Failure | None = None
        with self._manager.turns:
            self._registry.mark(self._model, version, State.LOADING)
            try:
                model = self._manager.load(self._model, version, folder)
            except (Failure, OSError) as error:
                # Without the traceback, whose frames would keep the partly loaded model in memory.
                failure = Failure(getattr(error, "code", grpc.StatusCode.UNKNOWN), str(error))
            except Exception as error:
                _LOG.exception("loading model %s failed with an unexpected error", self._model)
                failure = Failure(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        wanted = version in self._look()
        again = failure is not None and wanted and load.attempts < self._manager.retries
        if model and wanted:
            self._registry.add(Servable(self._model, version, model))
            _LOG.info("Serving version %d of %s, loaded in %.1f s", version, self._model, time.monotonic() - started)
        elif not again:
            self._registry.mark(self._model, version, State.END, failure)
        if failure:
            load.attempts += 1
            load.due = time.monotonic() + self._manager.retry_seconds if again else _NEVER
            load.failure = None if again else failure
            _LOG.error(
                "version %d of %s cannot be loaded%s: %s: %s", version, self._model,
                f" (next attempt in {self._manager.retry_seconds:g} s)" if again else "", failure.code.name, failure,
            )  # fmt: skip
            gc.collect()
        else:
            del self._loads[version]
        if model and not wanted:
            model.close()

    def _free(self, servable: Servable[Model]) -> None:
        """Wait for the last calls of a version, and free it."""
        self._registry.drain(servable)
        try:
            servable.runnable.close()
        finally:
            gc.collect()  # TensorFlow's graphs contain reference cycles
            self._registry.mark(self._model, servable.version, State.END)
            del self.freeing[servable.version]
            self._wake.set()  # it may be wanted again
        _LOG.info("Unloaded version %d of %s", servable.version, self._model)
