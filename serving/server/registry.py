"""Which versions of a model lie on disk, and which of them answer calls.

A base path holds one folder a version. Its name is read as TensorFlow Serving reads it: an optional sign and
digits, so ``3``, ``001`` and ``+4`` are versions, ``v1`` and ``1.0`` are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

__all__ = ["BasePathError", "NotAvailable", "Registry", "Servable", "find_versions", "newest_version"]

_VERSION = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_INT64 = range(-(2**63), 2**63)

Runnable = TypeVar("Runnable")


class BasePathError(Exception):
    """A base path from which nothing can be served; the message says why."""


class NotAvailable(LookupError):
    """No version of a model that answers calls is what was asked for; the message is TensorFlow Serving's."""


@dataclass(frozen=True)
class Servable(Generic[Runnable]):
    """A loaded version of a model."""

    model: str
    version: int
    runnable: Runnable


class Registry(Generic[Runnable]):
    """The versions that answer calls.

    A call takes its version once and keeps it until it is answered, so what is registered later never mixes into
    it. Safe to use from several threads: readers see one whole table or the next.
    """

    def __init__(self) -> None:
        self._models: Mapping[str, Mapping[int, Servable[Runnable]]] = MappingProxyType({})

    def add(self, servable: Servable[Runnable]) -> None:
        """Let a version answer calls."""
        versions = {**self._models.get(servable.model, {}), servable.version: servable}
        self._models = MappingProxyType({**self._models, servable.model: MappingProxyType(versions)})

    def get(self, model: str, version: int | None = None) -> Servable[Runnable]:
        """The version of a model that is to answer: the one asked for, or the largest.

        Raises:
            NotAvailable: there is none.
        """
        versions = self._models.get(model, {})
        if version is None and versions:
            return versions[max(versions)]
        if version is None:
            raise NotAvailable(f"Servable not found for request: Latest({model})")
        if version not in versions:
            raise NotAvailable(f"Servable not found for request: Specific({model}, {version})")
        return versions[version]

    def available(self, model: str, version: int | None = None) -> list[int]:
        """Versions of a model that answer calls, the largest first; only ``version`` if it is given.

        Raises:
            NotAvailable: there is none.
        """
        versions = self._models.get(model, {})
        if not versions:
            raise NotAvailable(f"Could not find any versions of model {model}")
        if version is None:
            return sorted(versions, reverse=True)
        if version not in versions:
            raise NotAvailable(f"Could not find version {version} of model {model}")
        return [version]


def find_versions(base_path: Path) -> dict[int, Path]:
    """Version folders of a base path by number, the largest first.

    Raises:
        BasePathError: the base path is no folder that can be read.
    """
    try:
        folders = sorted(entry for entry in base_path.iterdir() if entry.is_dir())
    except FileNotFoundError:
        raise BasePathError(f"the base path {base_path} does not exist") from None
    except OSError as error:
        raise BasePathError(f"the base path {base_path} cannot be read: {error.strerror}") from error
    versions: dict[int, Path] = {}
    for folder in folders:
        # The first of several spellings of a number wins: 1 is both 001 and 1.
        if _VERSION.fullmatch(folder.name) and int(folder.name) in _INT64:
            versions.setdefault(int(folder.name), folder)
    return dict(sorted(versions.items(), reverse=True))


def newest_version(base_path: Path) -> tuple[int, Path]:
    """The largest version of a base path, and its folder.

    Raises:
        BasePathError: there is none.
    """
    for version, folder in find_versions(base_path).items():
        return version, folder
    hint = ""
    if (base_path / "saved_model.pb").is_file():
        hint = "; it is a SavedModel itself: give the folder above it, in which this one is named by its version"
    raise BasePathError(f"the base path {base_path} has no version folder, such as {base_path / '1'}{hint}")
