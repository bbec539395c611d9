"""Publication of a version folder by one atomic rename."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...serving.contract import TensorSpec, version_of
from ..errors import OutputError, VersionExists, os_errors_as
from ..scratch import clean, hidden

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


@dataclass(frozen=True)
class Bundle:
    """A published version.

    Attributes:
        path: ``<base path>/<version>``.
        base_path: value for TensorFlow Serving's ``--model_base_path``.
        version: number of the version.
        name: model name for clients.
        signatures: outputs by signature name.
        size: bytes on disk.
        seconds: wall-clock time of the export.
        manifest: contents of assets.extra/rawbert.json.
    """

    path: Path
    base_path: Path
    version: int
    name: str
    signatures: dict[str, tuple[TensorSpec, ...]]
    size: int
    seconds: float
    manifest: dict[str, Any]


def folders_by_version(base_path: Path) -> dict[int, Path]:
    """Version folders under a base path, by number."""
    with os_errors_as(OutputError, f"{base_path}: cannot be read"):
        try:
            return {number: entry for entry in base_path.iterdir() if (number := version_of(entry.name)) is not None}
        except (FileNotFoundError, NotADirectoryError):
            return {}


def version_folder(path: Path) -> Path:
    """The folder of a SavedModel: ``path`` itself, or the newest version below, which a server would load."""
    try:
        if not (path / "saved_model.pb").exists() and (found := folders_by_version(path)):
            return path / found[max(found)].name
    except (OSError, OutputError):
        pass  # the code that opens it reports the reason
    return path


class Staging:
    """A hidden folder next to the versions, on the same file system, that becomes a version or is removed.

    ::

        with Staging(base_path, version=None, force=False) as staging:
            ...                       # write into staging.folder
            path = staging.publish()

    Without a publication, newly created parent folders are removed too. Remains of killed processes in the base path
    are removed at the start. A KeyboardInterrupt after the publication contains a note about it.

    Raises:
        OutputError: the base path cannot be created or written.
        VersionExists: the version exists and ``force`` is not set.
    """

    def __init__(self, base_path: Path, version: int | None, force: bool) -> None:
        self._base_path, self._version, self._force = base_path, version, force
        self._renaming: tuple[Path, int, os.stat_result] | None = None
        self.folder = Path()

    def __enter__(self) -> Staging:
        if self._version is not None and not self._force:
            self._refuse_existing(folders_by_version(self._base_path))
        with os_errors_as(OutputError, f"{self._base_path}: cannot be written"), contextlib.ExitStack() as undo:
            undo.enter_context(self._late_interrupts())
            for path in reversed([self._base_path, *self._base_path.parents]):
                if not path.exists():
                    path.mkdir(exist_ok=True)
                    undo.callback(_remove_empty, path)
            clean(self._base_path)
            self.folder = undo.enter_context(hidden(self._base_path))
            self.folder.mkdir()
            self._undo = undo.pop_all()  # at the end of the context, and not here
        return self

    def __exit__(self, *exception: Any) -> None:
        self._undo.__exit__(*exception)

    @contextlib.contextmanager
    def _late_interrupts(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt as interrupt:
            if self.published is None:
                raise
            path, number = self.published
            raise KeyboardInterrupt(f"version {number} is published: {path}") from interrupt

    def number(self) -> int:
        """The number that the version would get now."""
        if self._version is not None:
            return self._version
        number = max([0, *folders_by_version(self._base_path)]) + 1
        if version_of(str(number)) is None:
            raise OutputError(f"{self._base_path}: no version number is left above {number - 1}; choose one")
        return number

    @property
    def published(self) -> tuple[Path, int] | None:
        """Path and number of the published folder, also if :meth:`publish` was interrupted after the rename."""
        if self._renaming is not None:
            path, number, state = self._renaming
            with contextlib.suppress(OSError):
                if os.path.samestat(state, path.stat()):
                    return path, number
        return None

    def publish(self) -> tuple[Path, int]:
        """Flush everything to disk and rename the folder to its version; returns path and number.

        Raises:
            VersionExists: the version appeared in the meantime.
            OutputError: the rename failed.
        """
        with os_errors_as(OutputError, f"{self._base_path}: the version cannot be published"):
            _sync(self.folder)
            while True:
                present = folders_by_version(self._base_path)
                number = self.number()
                target = present.get(number, self._base_path / str(number))
                self._renaming = target, number, self.folder.stat()
                if number in present:
                    if not self._force:
                        self._refuse_existing(present)
                    _exchange(self.folder, target)
                else:
                    try:
                        os.rename(self.folder, target)
                    except OSError as error:
                        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                            continue  # another export took the number first
                        raise
                _flush(self._base_path)
                return target, number

    def _refuse_existing(self, present: dict[int, Path]) -> None:
        if self._version in present:
            raise VersionExists(
                f"{present[self._version]}: version {self._version} exists; choose another, leave --version out for "
                f"the next free one ({max(present) + 1}), or give --force to replace it"
            )


def remove(version: Path) -> None:
    """Remove a version folder by one rename, so that it is never visible half removed.

    Raises:
        OutputError: it cannot be removed.
    """
    with (
        os_errors_as(OutputError, f"{version}: cannot be removed"),
        contextlib.suppress(FileNotFoundError),  # another process removed it
        hidden(version.parent) as path,
    ):
        os.rename(version, path)
        _flush(version.parent)


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _sync(folder: Path) -> None:
    """Flush everything to disk before the rename, so that a power cut leaves no incomplete version."""
    for path in (*folder.rglob("*"), folder):
        _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step if the system can; the old one then has the name of the new one."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        if rename(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise OSError(code, os.strerror(code))
    # On other systems the version is missing for a moment between two renames.
    aside = new.with_name(new.name + ".old")
    os.rename(old, aside)
    try:
        os.rename(new, old)
    except OSError:
        os.rename(aside, old)
        raise
    os.rename(aside, new)
