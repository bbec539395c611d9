"""Brings what is served in line with what is configured and what lies on disk, for as long as the server runs.

One thread looks at the base paths, loads and warms new versions, and removes old ones by TensorFlow Serving's
availability-preserving policy: a version that is no longer wanted goes only when one that is wanted answers calls, or
when none is wanted.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc

from .config import ModelSettings
from .failure import Failure
from .model import Model
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
    """

    def __init__(
        self,
        registry: Registry[Model],
        load: Callable[[str, int, Path], Model],
        poll_seconds: float,
        retries: int,
        retry_seconds: float,
        first_retries: int,
    ) -> None:
        self._registry, self._load = registry, load
        self._poll_seconds, self._retries, self._retry_seconds = poll_seconds, retries, max(0.0, retry_seconds)
        self._first_retries, self._first = first_retries, True
        self._changed = threading.Condition()
        self._models: Mapping[str, ModelSettings] = {}
        self._wanted: dict[str, dict[int, Path]] = {}
        self._failed: dict[Key, Failure] = {}
        self._attempts: dict[Key, tuple[int, float]] = {}
        self._look_at = 0.0
        self._generation = self._done = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="rawbert-manager", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and free what it loaded."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        for name, version in self._registry.loaded():
            self._registry.remove(name, version).runnable.close()

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
            if self._act():
                continue
            with self._changed:
                if self._stopping or self._generation != generation:
                    continue
                now = time.monotonic()
                waits = [at for key, (_, at) in self._attempts.items() if key not in self._failed]
                if self._look_at != float("inf"):
                    waits.append(self._look_at)
                self._changed.wait(max(0.0, min(waits) - now) if waits else None)

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
            for key in keys - set(self._failed) - set(self._attempts) - set(self._registry.loaded()):
                self._attempts[key] = (0, 0.0)
                self._registry.mark(*key, State.START)
            if self._generation == generation:
                self._look_at = time.monotonic() + self._poll_seconds if self._poll_seconds > 0 else float("inf")
            self._done = generation
            self._changed.notify_all()

    def _act(self) -> bool:
        """Do one thing that is to be done, if there is one."""
        loaded = set(self._registry.loaded())
        for name, version in sorted(loaded):
            wanted = self._wanted.get(name, {})
            unwanted = [each for model, each in loaded if model == name and each not in wanted]
            serving = any((name, each) in loaded for each in wanted)
            if version not in wanted and (not wanted or serving or len(unwanted) > 1):
                self._unload(name, version)
                return True
        now = time.monotonic()
        due = sorted(key for key, (_, at) in self._attempts.items() if at <= now and key not in self._failed)
        if not due:
            return False
        name = due[0][0]
        self._attempt(*max(key for key in due if key[0] == name))
        return True

    def _attempt(self, name: str, version: int) -> None:
        count, _ = self._attempts[name, version]
        folder = self._wanted[name][version]
        self._registry.mark(name, version, State.LOADING)
        started = time.monotonic()
        try:
            model = self._load(name, version, folder)
        except Failure as failure:
            last = count >= (self._first_retries if self._first else self._retries)
            _LOG.error(
                "version %d of %s cannot be loaded%s: %s: %s",
                version, name, "" if last else f" (tried again in {self._retry_seconds:g} s)",
                failure.code.name, failure,
            )  # fmt: skip
            with self._changed:
                if last:
                    self._failed[name, version] = failure
                    self._registry.mark(name, version, State.END, failure)
                self._attempts[name, version] = (count + 1, time.monotonic() + self._retry_seconds)
                self._changed.notify_all()
            return
        with self._changed:
            del self._attempts[name, version]
            self._registry.add(Servable(name, version, model))
            self._changed.notify_all()
        _LOG.info("Serving version %d of %s, loaded in %.1f s", version, name, time.monotonic() - started)

    def _unload(self, name: str, version: int) -> None:
        servable = self._registry.remove(name, version)
        servable.runnable.close()
        del servable
        # A graph is full of cycles: without this its memory stays for long.
        gc.collect()
        self._registry.mark(name, version, State.END)
        _LOG.info("version %d of %s is unloaded", version, name)
