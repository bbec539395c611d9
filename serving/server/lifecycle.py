"""Brings what is served in line with what is configured and what lies on disk, for as long as the server runs.

One thread looks at the base paths and decides, by TensorFlow Serving's availability-preserving policy: a version that
is no longer wanted goes only when one that is wanted answers calls, or when none is wanted. Loading and warming, and
freeing what has gone, are done by threads of their own, so that no model waits for another's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc

from .. import malloc
from .failure import Failure
from .model import Model
from .options import ModelSettings
from .registry import BasePathError, Registry, Servable, State, find_versions

__all__ = ["Manager"]

_LOG = logging.getLogger(__name__)

Key = tuple[str, int]


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
        self._poll_seconds, self._retries, self._retry_seconds = poll_seconds, retries, max(0.0, retry_seconds)
        self._first_retries, self._first = first_retries, True
        self._loads, self._first_loads = loads, first_loads
        self._changed = threading.Condition()
        self._models: Mapping[str, ModelSettings] = {}
        self._wanted: dict[str, dict[int, Path]] = {}
        self._failed: dict[Key, Failure] = {}
        self._attempts: dict[Key, tuple[int, float]] = {}
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

        Returns when the versions of the models that are new answer calls; removal goes on behind it.

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
            broken = sorted(
                ((key, failure) for key, failure in self._failed.items() if key[0] in new), key=lambda pair: pair[0]
            )
            self._first = False
        if broken and wait:
            listed = "".join(
                f"{{{{name: {name} version: {version}}} due to error: {failure.code.name}: {failure}}}, "
                for (name, version), failure in broken
            )
            raise Failure(grpc.StatusCode.UNKNOWN, f"{len(broken)} model(s) did not become available: {{{listed}}}")

    def configured(self) -> set[str]:
        """Names of the models that are served, or would be."""
        with self._changed:
            return set(self._models)

    def failed(self) -> list[Path]:
        """Folders of the versions that could not be loaded."""
        with self._changed:
            return [self._wanted[name][version] for name, version in self._failed]

    def _settled(self, generation: int, names: set[str]) -> bool:
        if self._done < generation:
            return False
        loaded = set(self._registry.loaded())
        return all(
            (name, version) in loaded or (name, version) in self._failed
            for name in names
            for version in self._wanted.get(name, {})
        )

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                generation, models = self._generation, self._models
                looking = time.monotonic() >= self._look_at
            if looking:
                self._look(models, generation)
            self._act()
            with self._changed:
                if self._stopping or self._generation != generation:
                    continue
                now = time.monotonic()
                waits = [self._look_at] if self._look_at != float("inf") else []
                if len(self._loading) < self._most_loads():
                    waits += [self._attempts[key][1] for key in self._waiting()]
                if not waits or min(waits) > now:
                    self._changed.wait(min(waits) - now if waits else None)

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
            for old in (set(self._failed) | set(self._attempts)) - keys:
                self._failed.pop(old, None)
                self._attempts.pop(old, None)
            known = {*self._failed, *self._attempts, *self._registry.loaded(), *self._loading, *self._freeing}
            for key in keys - known:
                self._attempts[key] = (0, 0.0)
                self._registry.mark(*key, State.START)
            if self._generation == generation:
                self._look_at = time.monotonic() + self._poll_seconds if self._poll_seconds > 0 else float("inf")
            self._done = generation
            self._changed.notify_all()

    def _most_loads(self) -> int:
        return self._first_loads if self._first else self._loads

    def _waiting(self) -> list[Key]:
        """What has yet to be loaded, the largest version of each model first."""
        keys = set(self._attempts) - set(self._failed) - set(self._loading)
        return sorted(keys, key=lambda key: (key[0], -key[1]))

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
            due = [key for key in self._waiting() if self._attempts[key][1] <= now]
            for key in due[: max(0, self._most_loads() - len(self._loading))]:
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
                    if group is self._freeing:
                        # It may be wanted again by now.
                        self._look_at = 0.0
                    self._changed.notify_all()

        with self._changed:
            group[key] = threading.Thread(target=run, name=f"rawbert-version-{key[0]}-{key[1]}", daemon=True)
            group[key].start()

    def _attempt(self, name: str, version: int, folder: Path) -> None:
        started = time.monotonic()
        reason: Failure | None = None
        try:
            model = self._load(name, version, folder)
            malloc.give_back()
        except Failure as failure:
            # Without its traceback, whose frames hold the model as far as it was loaded.
            reason = Failure(failure.code, str(failure))
        except Exception as error:
            _LOG.exception("loading version %d of %s failed in a way that was not foreseen", version, name)
            reason = Failure(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        if reason:
            malloc.give_back()
            self._note_failure(name, version, reason)
            return
        with self._changed:
            self._attempts.pop((name, version), None)
            if self._is_wanted(name, version):
                self._registry.add(Servable(name, version, model))
                _LOG.info("Serving version %d of %s, loaded in %.1f s", version, name, time.monotonic() - started)
                return
            self._registry.mark(name, version, State.END)
        model.close()

    def _note_failure(self, name: str, version: int, failure: Failure) -> None:
        with self._changed:
            count, _ = self._attempts.get((name, version), (0, 0.0))
            wanted = self._is_wanted(name, version)
            last = not wanted or count >= (self._first_retries if self._first else self._retries)
            if last:
                self._registry.mark(name, version, State.END, failure)
            if last and wanted:
                self._failed[name, version] = failure
            if wanted:
                self._attempts[name, version] = (count + 1, time.monotonic() + self._retry_seconds)
        _LOG.error(
            "version %d of %s cannot be loaded%s: %s: %s",
            version, name, "" if last else f" (tried again in {self._retry_seconds:g} s)", failure.code.name, failure,
        )  # fmt: skip

    def _is_wanted(self, name: str, version: int) -> bool:
        return version in self._wanted.get(name, {}) and not self._stopping

    def _unload(self, name: str, version: int) -> None:
        self._begin(self._freeing, (name, version), self._free, self._registry.withdraw(name, version))

    def _free(self, name: str, version: int, servable: Servable[Model]) -> None:
        self._registry.drain(servable)
        servable.runnable.close()
        malloc.give_back()
        self._registry.mark(name, version, State.END)
        _LOG.info("version %d of %s is unloaded", version, name)
