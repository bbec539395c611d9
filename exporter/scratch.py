"""Folders that are written or removed, and that nobody else is to see: what a killed process leaves of them is found.

Each is hidden, and has a lock beside it, which the system frees when its owner dies, however it dies.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .locks import FileLock

__all__ = ["Hidden", "clean", "temporary"]

#: What such a folder is named, and what is appended for its lock.
_PREFIX, _LOCK = ".rawbert-", ".lock"


class Hidden:
    """A name in a folder that no server takes for a version, held as long as its owner lives; the folder is not made.

    Raises:
        OSError: the lock cannot be had.
    """

    def __init__(self, parent: Path) -> None:
        self.path = parent / f"{_PREFIX}{secrets.token_hex(8)}"
        self._lock = FileLock(self.path.with_name(self.path.name + _LOCK), temporary=True)
        self._lock.acquire()

    def remove(self) -> None:
        """Remove what stands under the name, and give it up."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


def clean(parent: Path) -> None:
    """Remove what killed processes left in a folder; what living ones have is left alone.

    Raises:
        OSError: the folder cannot be read.
    """
    for entry in list(parent.iterdir()):
        if not entry.name.startswith(_PREFIX):
            continue
        path = entry.with_name(entry.name.removesuffix(_LOCK))
        lock = FileLock(path.with_name(path.name + _LOCK), temporary=True)
        with contextlib.suppress(PermissionError):
            # Removed under the lock, and only then the lock: nobody who takes it finds half of the work.
            if lock.acquire(wait=False):
                shutil.rmtree(path, ignore_errors=True)
                lock.release()


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder of the system's temporary ones, for this user alone, as long as the context lasts.

    Raises:
        OSError: it cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    clean(parent)
    hidden = Hidden(parent)
    try:
        hidden.path.mkdir(mode=0o700)
        yield hidden.path
    finally:
        hidden.remove()
