"""A folder in an object store, or in any other file system that fsspec knows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.callbacks import Callback

from ...serving.contract import version_of
from ..errors import OutputError, first_line

#: Stores in which folders are not made: a name with slashes is enough. (s3fs would make a bucket that is missing.)
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci"}
#: Packages that fsspec needs for them.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}

#: Called with the number of bytes that were read, sent or compared.
Progress = Callable[[int], None]
#: Without it, a folder is no SavedModel.
SAVED_MODEL = "saved_model.pb"
_CHUNK = 1 << 20


class _Sent(Callback):  # type: ignore[misc]
    """Passes on what fsspec tells of an upload."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress, self.told = progress, 0

    def call(self, *_: Any, **__: Any) -> None:
        """As of its base."""
        self._progress(self.value - self.told)
        self.told = self.value


class Store:
    """A folder at a URL, through fsspec; whatever fails there is an OutputError that says what and where.

    Raises:
        OutputError: the URL is of no kind that fsspec knows, or the package for it is missing.
    """

    def __init__(self, url: str) -> None:
        protocol = url.partition("://")[0] if "://" in url else "file"
        self.url = (url if "://" in url else f"file://{Path(url).absolute()}").rstrip("/")
        self._makes_folders, self._is_local = protocol not in _OBJECT_STORES, protocol in ("file", "local")
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            package = _PACKAGES.get(protocol)
            how = f"pip install {package}" if package else first_line(error)
            raise OutputError(f"{url}: {protocol}:// needs a package of its own: {how}") from error
        except ValueError as error:
            raise OutputError(f"{url}: {first_line(error)}; give s3://bucket/..., gs://bucket/... or a path") from error

    def at(self, name: str) -> str:
        """The URL of a file, for messages."""
        return f"{self.url}/{name}"

    def sizes(self, folder: str) -> dict[str, int]:
        """The files anywhere in a folder, by their names in it."""
        root = f"{self._root}/{folder}".rstrip("/")
        with self._failing(folder):
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(root, detail=True)
            except FileNotFoundError:
                if self._makes_folders:
                    return {}
                raise
        return {
            path.removeprefix(root).lstrip("/"): int(info["size"])
            for path, info in found.items()
            if info.get("type") != "directory"
        }

    def versions(self) -> set[int]:
        """The numbers of the versions that have a saved_model.pb."""
        names = [name.split("/") for name in self.sizes("")]
        return {
            number
            for folder, file, *deeper in (parts for parts in names if len(parts) > 1)
            if file == SAVED_MODEL and not deeper and (number := version_of(folder)) is not None
        }

    def read(self, name: str) -> bytes | None:
        """A small file; ``None`` where there is none."""
        with self._failing(name):
            self._fs.invalidate_cache()
            try:
                data: bytes = self._fs.cat_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return None
            return data

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, and see that it is read back."""
        path = f"{self._root}/{name}"
        with self._failing(name):
            self._make_folder(name)
            if self._is_local:  # where, unlike in a store, a file can be seen half-written
                self._fs.pipe_file(f"{path}.tmp", data)
                self._fs.mv(f"{path}.tmp", path)
            else:
                self._fs.pipe_file(path, data)
        if self.read(name) != data:
            raise OutputError(f"{self.at(name)}: what is read back is not what was written")

    def send(self, local: Path, name: str, size: int, progress: Progress) -> None:
        """Upload a file; one that was there is replaced."""
        sent = _Sent(progress)
        with self._failing(name):
            self._make_folder(name)
            self._fs.put_file(str(local), f"{self._root}/{name}", callback=sent)
        progress(size - sent.told)  # Not every store tells.

    def digest(self, name: str, progress: Progress) -> str:
        """sha256 of a file as it is read back."""
        with self._failing(name), self._fs.open(f"{self._root}/{name}", "rb") as stream:
            return sha256(stream, progress)

    def remove(self, name: str) -> None:
        """Remove a file; no matter where there is none."""
        with self._failing(name), suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/{name}")

    def _make_folder(self, name: str) -> None:
        if self._makes_folders:
            self._fs.makedirs(f"{self._root}/{name}".rpartition("/")[0], exist_ok=True)

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OutputError:
            raise
        # Each store has exceptions of its own, of which few are OSErrors.
        except Exception as error:
            kind, said = type(error).__name__, first_line(error)
            hint = ""
            if isinstance(error, PermissionError) or "redential" in kind + said or "Forbidden" in said:
                hint = "; are the credentials there, and do they allow it? They come from the store's own environment"
            elif isinstance(error, FileNotFoundError):
                hint = "; is there such a bucket?"
            raise OutputError(f"{self.at(name)}: {kind}: {said}{hint}") from error


def sha256(stream: Any, progress: Progress) -> str:
    """sha256 (hex) of a stream."""
    made = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        made.update(chunk)
        progress(len(chunk))
    return made.hexdigest()
