"""Files that only one process holds at a time, and that the system frees when it dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

__all__ = ["FileLock"]


class FileLock:
    """A lock on a file of its own, by flock(2); a context manager.

    Args:
        path: the file; made if it is not there.
        temporary: remove the file in the end.

    Raises:
        OSError: on entering: the file cannot be made.
    """

    def __init__(self, path: Path, *, temporary: bool = False) -> None:
        self.path, self._temporary = path, temporary
        self._descriptor = -1

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; whether it was had. Without ``wait``, one that another process holds is not had."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                # Its last holder may have removed the file since it was opened: then the lock is on nothing.
                if os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                    self._descriptor = descriptor
                    return True
            except BlockingIOError:
                os.close(descriptor)
                return False
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor >= 0:
            if self._temporary:
                self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
