"""Brings what is served in line with the configuration and with the disk, for as long as the server runs.

One thread looks at the base paths and decides, by TensorFlow Serving's availability-preserving policy: a version that
is no longer wanted goes only when one that is wanted answers calls, or when none is wanted. Each version is loaded and
freed by a thread of its own, so that no model waits for another's.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from .failure import Failure
from .model import Model
from .options import ModelSettings
from .registry import BasePathError, Registry, Servable, State, find_versions

__all__ = ["Manager"]

_LOG = logging.getLogger(__name__)

#: Name of a model, and number of a version.
Key = tuple[str, int]
_NEVER = float("inf")


@dataclass
class _Load:
    """A version that is wanted and does not answer calls yet."""

    attempts: int = 0
    due: float = 0.0  # when the next attempt may begin; never after the last
    failure: Failure | None = None


class Manager:
    """Loads and unloads the versions of a registry.

    Args:
        registry: what answers calls.
        load: makes a version of a model from its folder, warmed up.
        poll_seconds: between two looks at the base paths; 0 looks once.
        retries: further attempts to load a version.
        retry_seconds: between two attempts.
        first_retries: the same as ``retries``, for the models of the first configuration.
        loads: versions that are loaded at once.
        first_loads: the same as ``loads``, for the first configuration.
    """

    def __init__(
        self,
        registry: Registry[Model],
        load: Callable[[str, int, Path], Model],
        poll_seconds: float,
        retries: int,
        retry_seconds: float,
        first_retries: int,
        loads: int = 1,
        first_loads: int = 1,
    ) -> None:
        self._registry, self._load = registry, load
        self._poll_seconds, self._retry_seconds = poll_seconds, retry_seconds
        self._retries, self._most_loads = first_retries, first_loads
        self._later = retries, loads
        self._changed = threading.Condition()
        self._models: Mapping[str, ModelSettings] = {}
        self._wanted: dict[str, dict[int, Path]] = {}
        self._loads: dict[Key, _Load] = {}
        self._loading: dict[Key, threading.Thread] = {}
        self._freeing: dict[Key, threading.Thread] = {}
        self._look_at = 0.0
        self._generation = self._done = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="rawbert-manager", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float | None = None) -> bool:
        """End the threads, and free what they loaded.

        Args:
            seconds: that calls may still take; ``None`` waits for their end.

        Returns:
            Whether all is freed. What has calls even now is freed after them.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        for thread in list(self._loading.values()):
            thread.join()
        end = None if seconds is None else time.monotonic() + seconds
        for name, version in self._registry.loaded():
            self._unload(name, version)
        for thread in list(self._freeing.values()):
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        return not self._freeing

    def configure(self, models: Mapping[str, ModelSettings], wait: bool = True) -> None:
        """Serve these models, and no others.

        Returns when the versions of the models that are new answer calls; removal goes on after it.

        Raises:
            Failure: UNKNOWN, a version of a new model could not be loaded; the configuration is in force.
        """
        with self._changed:
            new = set(models) - set(self._models)
            self._models = dict(models)
            self._look_at = 0.0
            self._generation += 1
            generation = self._generation
            self._changed.notify_all()
            while wait and not self._stopping and not self._settled(generation, new):
                self._changed.wait()
            broken = [(key, load.failure) for key, load in sorted(self._loads.items()) if key[0] in new]
            self._retries, self._most_loads = self._later
        listed = [
            f"{{{{name: {name} version: {version}}} due to error: {failure.code.name}: {failure}}}, "
            for (name, version), failure in broken
            if failure
        ]
        if wait and listed:
            raise Failure(
                grpc.StatusCode.UNKNOWN, f"{len(listed)} model(s) did not become available: {{{''.join(listed)}}}"
            )

    def configured(self) -> set[str]:
        """Names of the models that are served, or would be."""
        with self._changed:
            return set(self._models)

    def failed(self) -> list[Path]:
        """Folders of the versions that could not be loaded."""
        with self._changed:
            return [self._wanted[name][version] for (name, version), load in self._loads.items() if load.failure]

    def _settled(self, generation: int, names: set[str]) -> bool:
        """Whether the versions of these models are loaded, or have failed for good."""
        return self._done >= generation and all(
            load.due == _NEVER for (name, _), load in self._loads.items() if name in names
        )

    def _work(self) -> None:
        while not self._stopping:
            try:
                self._step()
            except Exception:
                # Whatever it is, versions that come after it must not be missed.
                _LOG.exception("the versions could not be brought up to date; tried again in a second")
                time.sleep(1)

    def _step(self) -> None:
        """Look and act once, and wait for the next occasion."""
        with self._changed:
            generation, models = self._generation, self._models
            looking = time.monotonic() >= self._look_at
        if looking:
            self._look(models, generation)
        self._act()
        with self._changed:
            soonest = self._look_at
            if len(self._loading) < self._most_loads:
                soonest = min([soonest, *(self._loads[key].due for key in self._waiting())])
            if not self._stopping and self._generation == generation and soonest > (now := time.monotonic()):
                self._changed.wait(None if soonest == _NEVER else soonest - now)

    def _look(self, models: Mapping[str, ModelSettings], generation: int) -> None:
        """See which versions are wanted."""
        wanted = {}
        for name, settings in models.items():
            try:
                wanted[name] = settings.policy.choose(find_versions(settings.base_path))
            except BasePathError as error:
                _LOG.warning("model %s: %s", name, error)
                # As there: a base path that is gone unloads nothing.
                wanted[name] = self._wanted.get(name, {})
                continue
            missing = settings.policy.versions - set(wanted[name])
            if missing:
                _LOG.warning("model %s: version(s) %s of its policy are missing", name, sorted(missing))
        with self._changed:
            self._wanted = wanted
            keys = {(name, version) for name, versions in wanted.items() for version in versions}
            for old in set(self._loads) - keys - set(self._loading):
                # One that has failed has ended before, and keeps its reason.
                if self._loads.pop(old).due != _NEVER:
                    self._registry.mark(*old, State.END)
            for key in keys - set(self._loads) - set(self._registry.loaded()) - set(self._freeing):
                self._loads[key] = _Load()
                self._registry.mark(*key, State.START)
            if self._generation == generation:
                self._look_at = time.monotonic() + self._poll_seconds if self._poll_seconds > 0 else _NEVER
            self._done = generation
            self._changed.notify_all()

    def _waiting(self) -> list[Key]:
        """Versions that wait to be loaded, the largest of each model first."""
        return sorted(set(self._loads) - set(self._loading), key=lambda key: (key[0], -key[1]))

    def _act(self) -> None:
        """Begin what can be begun."""
        loaded = set(self._registry.loaded())
        for name, version in sorted(loaded):
            wanted = self._wanted.get(name, {})
            unwanted = [each for model, each in loaded if model == name and each not in wanted]
            serving = any((name, each) in loaded for each in wanted)
            if version not in wanted and (not wanted or serving or len(unwanted) > 1):
                loaded.remove((name, version))
                self._unload(name, version)
        with self._changed:
            now = time.monotonic()
            due = [key for key in self._waiting() if self._loads[key].due <= now]
            for key in due[: max(0, self._most_loads - len(self._loading))]:
                self._registry.mark(*key, State.LOADING)
                self._begin(self._loading, key, self._attempt, self._wanted[key[0]][key[1]])

    def _begin(self, group: dict[Key, threading.Thread], key: Key, work: Callable[..., None], what: object) -> None:
        """Do something with a version in a thread of its own."""

        def run() -> None:
            try:
                work(*key, what)
            finally:
                with self._changed:
                    del group[key]
                    self._look_at = 0.0  # what was freed may be wanted again by now
                    self._changed.notify_all()

        with self._changed:
            thread = threading.Thread(target=run, name=f"rawbert-version-{key[0]}-{key[1]}", daemon=True)
            thread.start()
            group[key] = thread

    def _attempt(self, name: str, version: int, folder: Path) -> None:
        started = time.monotonic()
        model: Model | None = None
        failure: Failure | None = None
        try:
            model = self._load(name, version, folder)
        except Exception as error:
            if not isinstance(error, (Failure, OSError)):
                _LOG.exception("loading version %d of %s failed in a way that was not foreseen", version, name)
            failure = _without_frames(error)
            gc.collect()
        with self._changed:
            load = self._loads[name, version]
            wanted = version in self._wanted.get(name, {}) and not self._stopping
            if model and wanted:
                self._registry.add(Servable(name, version, model))
                _LOG.info("Serving version %d of %s, loaded in %.1f s", version, name, time.monotonic() - started)
            elif wanted and load.attempts < self._retries:
                load.attempts, load.due = load.attempts + 1, time.monotonic() + self._retry_seconds
            else:
                self._registry.mark(name, version, State.END, failure)
                load.failure, load.due = failure, _NEVER
            if model or not wanted:
                del self._loads[name, version]
        if failure:
            again = "" if load.due == _NEVER else f" (tried again in {self._retry_seconds:g} s)"
            _LOG.error("version %d of %s cannot be loaded%s: %s: %s", version, name, again, failure.code.name, failure)
        elif model and not wanted:
            model.close()

    def _unload(self, name: str, version: int) -> None:
        self._begin(self._freeing, (name, version), self._free, self._registry.withdraw(name, version))

    def _free(self, name: str, version: int, servable: Servable[Model]) -> None:
        self._registry.drain(servable)
        try:
            servable.runnable.close()
        finally:
            gc.collect()  # TensorFlow's graphs are full of cycles
            self._registry.mark(name, version, State.END)
        _LOG.info("version %d of %s is unloaded", version, name)


def _without_frames(error: Exception) -> Failure:
    """The failure of a load without its traceback, whose frames hold the model as far as it was loaded."""
    if isinstance(error, Failure):
        return Failure(error.code, str(error))
    if isinstance(error, OSError):
        return Failure(grpc.StatusCode.UNKNOWN, str(error))
    return Failure(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
