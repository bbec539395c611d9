"""Files that only one process holds at a time. The system frees them when their holder dies, however it dies."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ImportError:  # Windows: what only reads, such as `rawbert check`, works there
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileLock"]


class FileLock:
    """A lock on a file of its own, by flock(2); a context manager.

    Args:
        path: the file; made if it is not there. A symbolic link is refused: in a folder that others write to, it
            could name any file.
        temporary: remove the file in the end.

    Raises:
        OSError: on entering: the file cannot be made or locked.
    """

    def __init__(self, path: Path, *, temporary: bool = False) -> None:
        self.path, self._temporary = path, temporary
        self._descriptor = -1

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock, and say whether that succeeded: without ``wait``, another process may hold it."""
        if fcntl is None:
            raise OSError("this system has no flock(2); use Linux, macOS, or Linux under Windows (WSL)")
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                # Its last holder may have removed the file after it was opened here: then the lock is on nothing.
                if os.path.samestat(os.fstat(descriptor), os.lstat(self.path)):
                    self._descriptor, descriptor = descriptor, -1
                    return True
            except BlockingIOError:
                return False
            except FileNotFoundError:
                pass
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    def release(self) -> None:
        """Give the lock back."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            try:
                if self._temporary:
                    self.path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
