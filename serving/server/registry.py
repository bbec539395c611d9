"""The versions of a model on disk, their states, and the choice of the version that answers a call."""

import enum
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import grpc

from ..contract import version_of
from .failure import Failure, invalid, unfit

Runnable = TypeVar("Runnable")


class State(enum.IntEnum):
    """States of a version, with the numbers of ModelVersionStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class Status:
    """The state of a version, and the failure that ended it, if any."""

    version: int
    state: State
    failure: Failure | None = None


@dataclass(eq=False)
class Servable(Generic[Runnable]):
    """A loaded version of a model, and its number of calls."""

    model: str
    version: int
    runnable: Runnable
    calls: int = 0


class Registry(Generic[Runnable]):
    """The versions that answer calls, their states, and the labels that point to them.

    A call gets its version once and keeps it until its answer: versions registered later do not affect it, and a
    removed version is freed only after it. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._servables: dict[str, dict[int, Servable[Runnable]]] = {}
        self._statuses: dict[str, dict[int, Status]] = {}
        self._labels: dict[str, Mapping[str, int]] = {}

    @contextmanager
    def use(self, model: str, version: int | None = None, label: str | None = None) -> Iterator[Servable[Runnable]]:
        """Reserve the version of a model for a call: the requested one, or the largest."""
        with self._changed:
            servable = self._find(model, version, label)
            servable.calls += 1
        try:
            yield servable
        finally:
            with self._changed:
                servable.calls -= 1
                if not servable.calls:
                    self._changed.notify_all()

    def _find(self, model: str, version: int | None, label: str | None) -> Servable[Runnable]:
        if not model:
            raise invalid("ModelSpec has no name specified.")
        if label is not None:
            version = self._labels.get(model, {}).get(label)
            if version is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        servables = self._servables.get(model, {})
        number = max(servables, default=None) if version is None else version
        if number not in servables:
            asked = f"Latest({model})" if version is None else f"Specific({model}, {version})"
            raise _absent(f"Servable not found for request: {asked}")
        return servables[number]

    def add(self, servable: Servable[Runnable]) -> None:
        """Make a version AVAILABLE: it answers calls from now on."""
        with self._changed:
            self._servables.setdefault(servable.model, {})[servable.version] = servable
            self.mark(servable.model, servable.version, State.AVAILABLE)

    def withdraw(self, model: str, version: int) -> Servable[Runnable]:
        """Give no further calls to a version; its current calls continue."""
        with self._changed:
            servable = self._servables[model].pop(version)
            self.mark(model, version, State.UNLOADING)
            return servable

    def drain(self, servable: Servable[Runnable]) -> None:
        """Wait until the calls of a version are answered."""
        with self._changed:
            self._changed.wait_for(lambda: not servable.calls)

    def mark(self, model: str, version: int, state: State, failure: Failure | None = None) -> None:
        """Record the state of a version."""
        with self._changed:
            self._statuses.setdefault(model, {})[version] = Status(version, state, failure)

    def loaded(self, model: str | None = None) -> list[tuple[str, int]]:
        """Model and version of all versions that answer calls, the smallest version of each model first."""
        with self._changed:
            return [
                (name, version)
                for name, servables in self._servables.items()
                if model in (None, name)
                for version in sorted(servables)
            ]

    def status(self, model: str, version: int | None = None) -> list[Status]:
        """States of a model's versions, the largest first; only that of ``version`` if it is given."""
        with self._changed:
            statuses = dict(self._statuses.get(model, {}))
        if not statuses:
            raise _absent(f"Could not find any versions of model {model}")
        if version not in (None, *statuses):
            raise _absent(f"Could not find version {version} of model {model}")
        return [statuses[each] for each in sorted(statuses, reverse=True) if version in (None, each)]

    def set_labels(self, labels: Mapping[str, Mapping[str, int]], allow_unavailable: bool = False) -> None:
        """Replace the labels of all models, or of none: FAILED_PRECONDITION if a version is not available.

        With ``allow_unavailable``, a new label may point to a version that is not loaded yet; an existing label never
        moves to such a version.
        """
        with self._changed:
            for model, versions in labels.items():
                for label, version in versions.items():
                    new = self._labels.get(model, {}).get(label, version) == version
                    if version not in self._servables.get(model, {}) and not (allow_unavailable and new):
                        raise unfit(
                            f"Request to assign label to version {version} of model {model}, which is not currently "
                            "available for inference"
                        )
            self._labels = dict(labels)


def _absent(message: str) -> Failure:
    return Failure(grpc.StatusCode.NOT_FOUND, message)


def find_versions(base_path: Path) -> dict[int, Path]:
    """Version folders of a base path by number, the largest first."""
    try:
        folders = sorted((entry for entry in base_path.iterdir() if entry.is_dir()), reverse=True)
    except FileNotFoundError:
        raise unfit(f"the base path {base_path} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: an invalid file name
        raise unfit(f"the base path {base_path} cannot be read: {error}") from error
    # The first of several spellings of a number wins: 1 is both 001 and 1.
    versions = {version: folder for folder in folders if (version := version_of(folder.name)) is not None}
    return dict(sorted(versions.items(), reverse=True))


def newest_version(base_path: Path) -> tuple[int, Path]:
    """The largest version of a base path, and its folder."""
    for found in find_versions(base_path).items():
        return found
    hint = ""
    if (base_path / "saved_model.pb").is_file():
        hint = "; it is a SavedModel itself: give its parent folder, and name this folder by its version"
    elif models := [each.name for each in sorted(base_path.iterdir()) if each.is_dir() and find_versions(each)]:
        hint = (
            f"; it is a folder of models: give one of them, such as {base_path / models[0]}, or: rawbert serve MODELS"
        )
    raise unfit(f"the base path {base_path} has no version folder, such as {base_path / '1'}{hint}")
