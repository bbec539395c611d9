"""Locks; folders and files that nobody sees before they are complete, and the removal of what killed processes left.

Such a folder is hidden, and has a lock beside it, which the system frees when its owner dies, however it dies.
"""

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: what only reads, such as `rawbert check`, works there
    fcntl = None  # type: ignore[assignment]


#: How the name of such a folder begins, and what is appended for its lock.
_PREFIX, _LOCK = ".rawbert-", ".lock"


@contextlib.contextmanager
def hidden(parent: Path) -> Iterator[Path]:
    """A name in a folder that no server takes for a version. Nothing is there yet; what is there in the end is removed.

    Raises:
        OSError: the lock cannot be taken.
    """
    path = parent / f"{_PREFIX}{secrets.token_hex(8)}"
    with locked(_lock_of(path), temporary=True):
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def clean(parent: Path) -> None:
    """Remove what killed processes left in a folder. What belongs to living ones, or to other users, is left alone.

    Raises:
        OSError: the folder cannot be read.
    """
    for entry in list(parent.iterdir()):
        if entry.name.startswith(_PREFIX):
            path = entry.with_name(entry.name.removesuffix(_LOCK))
            # The lock is removed last: nobody who takes it finds a folder that is half removed.
            with contextlib.suppress(OSError), locked(_lock_of(path), wait=False, temporary=True) as is_abandoned:
                if is_abandoned:
                    shutil.rmtree(path, ignore_errors=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + _LOCK)


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder among the system's temporary ones, for this user alone, which lasts as long as the context.

    Raises:
        OSError: it cannot be made.
    """
    parent = _own_folder()
    if parent is None:
        with tempfile.TemporaryDirectory(prefix="rawbert-") as folder:
            yield Path(folder)
    else:
        clean(parent)
        with hidden(parent) as path:
            path.mkdir(mode=0o700)
            yield path


def _own_folder() -> Path | None:
    """This user's folder among the temporary ones; ``None`` where another user has its name, and on Windows."""
    if not hasattr(os, "getuid"):
        return None
    folder = Path(tempfile.gettempdir(), f"rawbert-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    state = folder.lstat()
    is_own = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077
    return folder if is_own else None


def replace(path: Path, text: str) -> None:
    """Write a file by one rename. Its mode stays, and so does a link to it. The caller holds a lock for the file.

    Raises:
        OSError: it cannot be written.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(exist_ok=True)
    new = unfinished(target)
    try:
        with new.open("w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            new.chmod(target.stat().st_mode & 0o777)
        os.replace(new, target)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def unfinished(path: Path) -> Path:
    """Where :func:`replace` writes what is to become ``path``; a killed process leaves it."""
    return path.with_name(f".{path.name}.new")


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True, temporary: bool = False) -> Iterator[bool]:
    """Hold a lock, by flock(2) on a file of its own; yields whether it was had. The system frees it with its holder.

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
                with contextlib.suppress(OSError):
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
