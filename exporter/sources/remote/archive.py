"""Archives (tar, plain or compressed, and zip), unpacked without trust in their headers.

Only regular files are written, each newly created under a checked name, in a folder that was empty. No link is ever
created on disk, so that nothing can be written through one. Members that no checkpoint has (devices, absolute
paths, ``..``, links to anything but a file of the archive) are refused, and so are archives that unpack to an
implausible size.
"""

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from ...errors import CorruptSource, UnsupportedModel

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
#: Largest compression ratio. Weights hardly compress; a graph and a vocabulary compress a hundredfold at most.
_LARGEST_RATIO = 100
_ALWAYS_ALLOWED = 256 << 20
_LARGEST = 64 << 30
_MOST_MEMBERS = 10_000
_CHUNK = 1 << 20
#: Largest read of a header: a member's name has a few hundred bytes.
_LARGEST_READ = 16 << 20
_COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


def is_archive_name(name: str) -> bool:
    """Whether a file or URL has the name of an archive."""
    return name.lower().endswith(_SUFFIXES)


@dataclass
class _Member:
    name: str
    size: int
    target: str | None  # target of a link, relative to the link
    content: IO[bytes] | None


def unpack(path: Path, folder: Path) -> None:
    """Unpack ``path`` into ``folder``, which is empty.

    Raises:
        UnsupportedModel: not an archive, or a member that must not be unpacked.
        CorruptSource: a damaged or truncated archive.
        OSError: it cannot be read, or the folder cannot be written.
    """
    limit = min(_LARGEST, max(_ALWAYS_ALLOWED, _LARGEST_RATIO * path.stat().st_size))
    links: dict[str, str] = {}
    total = 0

    def add(size: int) -> None:
        nonlocal total
        total += size
        if total > limit:
            raise UnsupportedModel(
                f"{path}: it unpacks to more than {limit} bytes, from {path.stat().st_size}; expected a checkpoint"
            )

    try:
        members = _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path, limit)
        for count, member in enumerate(members):
            if count >= _MOST_MEMBERS:
                raise UnsupportedModel(f"{path}: it has more than {_MOST_MEMBERS} members; expected a checkpoint")
            name = _safe(member.name, path)
            if member.target is not None:
                links[name] = member.target
            elif member.content is not None:
                add(member.size)
                with member.content as content:
                    _write(folder / name, member, content, path)
        for name in links:
            add(_resolve(folder, name, links, path).stat().st_size)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise CorruptSource(f"{path}: the archive is damaged or cut short: {error or type(error).__name__}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        # An OSError without a number comes from a decompressor, not from the system.
        raise CorruptSource(f"{path}: the archive is damaged: {error}") from error


class _Bounded:
    """A decompressed stream with limits on its total size and on each read: headers may lie."""

    def __init__(self, stream: IO[bytes], limit: int, path: Path) -> None:
        self._stream, self._left, self._path = stream, limit + _ALWAYS_ALLOWED, path

    def read(self, size: int) -> bytes:
        data = self._stream.read(size) if 0 <= size <= _LARGEST_READ else b""
        self._left -= len(data)
        if self._left < 0 or not 0 <= size <= _LARGEST_READ:
            raise UnsupportedModel(f"{self._path}: its headers are larger than those of any checkpoint's archive")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            target = content = None
            if entry.flag_bits & 1:
                raise UnsupportedModel(f"{path}: {entry.filename} is encrypted")
            if stat.S_ISLNK(entry.external_attr >> 16):
                if entry.file_size > 4096:
                    raise UnsupportedModel(f"{path}: the link {entry.filename} is too long")
                target = archive.read(entry).decode(errors="replace")
            elif not entry.is_dir():
                content = archive.open(entry)
            yield _Member(entry.filename, entry.file_size, target, content)


def _tar_members(path: Path, limit: int) -> Iterator[_Member]:
    with path.open("rb") as file:
        start = file.read(6)
    opened = next((opener for magic, opener in _COMPRESSED.items() if start.startswith(magic)), open)
    with opened(path, "rb") as decompressed:
        stream = _Bounded(decompressed, limit, path)
        try:
            archive = tarfile.TarFile(fileobj=cast(IO[bytes], stream))
        except tarfile.ReadError as error:
            raise UnsupportedModel(f"{path}: neither a tar nor a zip archive, or cut short at its beginning") from error
        for entry in archive:
            target = entry.linkname if entry.issym() else None
            if entry.islnk():  # relative to the root of the archive
                up = "../" * (len(PurePosixPath(entry.name).parts) - 1)
                target = entry.linkname if entry.linkname.startswith("/") else up + entry.linkname
            elif not (entry.isreg() or entry.issym() or entry.isdir()):
                raise UnsupportedModel(f"{path}: {entry.name} is neither a file, a folder nor a link")
            yield _Member(entry.name, entry.size, target, archive.extractfile(entry) if entry.isreg() else None)
        # Read to the end, which contains the checksum of the compressed stream.
        for _ in range(limit // _CHUNK + 1):
            if not stream.read(_CHUNK):
                return
        raise UnsupportedModel(f"{path}: more than {limit} bytes follow the last member")


def _safe(name: str, path: Path) -> str:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or (parts and ":" in parts[0]):
        raise UnsupportedModel(f"{path}: the member {name!r} is outside the archive; it was not written")
    return "/".join(parts)


def _write(target: Path, member: _Member, content: IO[bytes], path: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as stream:
            shutil.copyfileobj(content, stream, _CHUNK)  # never more than the member's size: tarfile, zipfile
            written = stream.tell()
    except (FileExistsError, NotADirectoryError) as error:
        raise CorruptSource(f"{path}: the member {member.name!r} occurs twice; expected it once") from error
    if written != member.size:
        raise CorruptSource(f"{path}: the member {member.name!r} should have {member.size} bytes, but has {written}")


def _resolve(folder: Path, name: str, links: dict[str, str], path: Path) -> Path:
    """Replace a link to a file of the archive by a copy, or by a hard link if the file system supports it."""
    to, seen = name, set()
    while to in links and to not in seen:
        seen.add(to)
        to = os.path.normpath(os.path.join(os.path.dirname(to), links[to]))
    if to in links or to.startswith(("/", "..")) or not (folder / to).is_file():
        raise UnsupportedModel(
            f"{path}: the link {name!r} points to {links[name]!r}; expected a file of the archive. The link was not "
            "followed"
        )
    made = folder / name
    made.parent.mkdir(parents=True, exist_ok=True)
    if made.exists():
        raise CorruptSource(f"{path}: the member {name!r} occurs twice; expected it once")
    try:
        os.link(folder / to, made)
    except OSError:
        shutil.copyfile(folder / to, made)
    return made
