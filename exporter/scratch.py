"""Locks, folders and files that appear only when complete, and the removal of remains of killed processes.

Such a folder is hidden, and has a lock file next to it. The system releases the lock when the owner dies.
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
except ImportError:  # Windows: commands that only read, such as `rawbert check`, work there
    fcntl = None  # type: ignore[assignment]


#: Prefix of the name of such a folder, and suffix for its lock.
_PREFIX, _LOCK = ".rawbert-", ".lock"


@contextlib.contextmanager
def hidden(parent: Path) -> Iterator[Path]:
    """An unused name in a folder that no server takes for a version. Contents that remain at the end are removed.

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
    """Remove the remains of killed processes in a folder; files of running processes and of other users stay.

    Raises:
        OSError: the folder cannot be read.
    """
    for entry in list(parent.iterdir()):
        if entry.name.startswith(_PREFIX):
            path = entry.with_name(entry.name.removesuffix(_LOCK))
            # The lock is removed last, so that its next holder never sees a half-removed folder.
            with contextlib.suppress(OSError), locked(_lock_of(path), wait=False, temporary=True) as is_abandoned:
                if is_abandoned:
                    shutil.rmtree(path, ignore_errors=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + _LOCK)


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A private folder in the system's temporary folder, for the lifetime of the context.

    Raises:
        OSError: it cannot be created.
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
    """This user's folder in the temporary folder; ``None`` if another user owns that name, and on Windows."""
    if not hasattr(os, "getuid"):
        return None
    folder = Path(tempfile.gettempdir(), f"rawbert-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    state = folder.lstat()
    is_own = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077
    return folder if is_own else None


def replace(path: Path, text: str) -> None:
    """Write a file by one rename; keeps its mode, and a symbolic link to it. The caller must hold a lock for the file.

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
    """The temporary file of :func:`replace` for ``path``; a killed process may leave it."""
    return path.with_name(f".{path.name}.new")


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True, temporary: bool = False) -> Iterator[bool]:
    """Hold a lock by flock(2) on a lock file; yields whether it was acquired. The system releases it with its holder.

    Args:
        path: the lock file; created if missing. A symbolic link is refused: in a folder that others can write to, it
            could point to any file.
        wait: wait until another process releases it; otherwise give up at once.
        temporary: remove the file at the end, if permitted.

    Raises:
        OSError: the file cannot be created or locked.
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
        is_held = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # The last holder may have removed the file after it was opened here: then the lock has no effect.
            is_held = os.path.samestat(os.fstat(descriptor), os.lstat(path))
            if is_held:
                return descriptor
        except BlockingIOError:
            return None
        except FileNotFoundError:
            pass
        finally:
            if not is_held:
                os.close(descriptor)
