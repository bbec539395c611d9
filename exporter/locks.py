"""Files that only one process holds at a time. The system frees them when their holder dies, however it dies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: what only reads, such as `rawbert check`, works there
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path, *, wait: bool = True, temporary: bool = False) -> Iterator[bool]:
    """Hold a lock, by flock(2) on a file of its own; yields whether it was had.

    Args:
        path: the file; made if it is not there. A symbolic link is refused: in a folder that others write to, it
            could name any file.
        wait: until another process gives it back; otherwise a lock that is held is not had.
        temporary: remove the file in the end, if that is allowed.

    Raises:
        OSError: the file cannot be made or locked.
    """
    if fcntl is None:
        raise OSError("this system has no flock(2); use Linux, macOS, or Linux under Windows (WSL)")
    descriptor = _take(path, wait)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            if temporary:
                with suppress(OSError):
                    path.unlink()
            os.close(descriptor)


def _take(path: Path, wait: bool) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        is_had = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Its last holder may have removed the file after it was opened here: then the lock is on nothing.
            is_had = os.path.samestat(os.fstat(descriptor), os.lstat(path))
            if is_had:
                return descriptor
        except BlockingIOError:
            return None
        except FileNotFoundError:
            pass
        finally:
            if not is_had:
                os.close(descriptor)
