"""API keys, stored as digests: given ones and those of a file, which is read again after each change."""

import hashlib
import hmac
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..plurals import counted

_LOG = logging.getLogger("rawbert.serving.gateway")


def read_keys(file: Path) -> list[str]:
    """The keys of a file: one per line, without blank lines and comments.

    Raises:
        ValueError: the file cannot be read, or has no key.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise ValueError(f"{file} has no key: write one per line")
    return found


class Keys:
    """All keys of a gateway.

    Args:
        given: keys as text.
        file: file with more keys.

    Raises:
        ValueError: the file cannot be read, or has no key.
    """

    def __init__(self, given: Iterable[str], file: Path | None = None) -> None:
        self._given, self._file = list(map(digest, given)), file
        self._state = _state(file)
        self._of_file = list(map(digest, read_keys(file))) if file else []

    def __bool__(self) -> bool:
        return bool(self._given or self._file)

    def knows(self, key: bytes) -> bool:
        """Whether a digest is that of a key. All keys are compared, each in constant time."""
        if (state := _state(self._file)) != self._state:
            self._state = state
            self._read()
        return bool(sum(hmac.compare_digest(key, known) for known in (*self._given, *self._of_file)))

    def _read(self) -> None:
        assert self._file is not None
        try:
            self._of_file = list(map(digest, read_keys(self._file)))
        except ValueError as error:
            _LOG.error("the API keys are unchanged: %s", error)
        else:
            _LOG.info("%s was read again: %s", self._file, counted(len(self._of_file), "API key"))


def digest(key: str | bytes) -> bytes:
    """The SHA-256 digest of a key: 32 bytes."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).digest()


def _state(file: Path | None) -> Any:
    """Time, size and inode of a file, or of a link's target; they change with the file. ``None`` without a file."""
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)
