"""A folder in an object store, or in any other file system of fsspec."""

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

#: Stores without folders: a name with slashes is enough. (s3fs would create a missing bucket.)
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci"}
#: fsspec's packages for them.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}

#: Called with the number of bytes read, sent or compared.
Progress = Callable[[int], None]
#: The file that makes a folder a SavedModel.
SAVED_MODEL = "saved_model.pb"
_CHUNK = 1 << 20


class _Sent(Callback):  # type: ignore[misc]
    """Forwards fsspec's progress of an upload."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress, self.told = progress, 0

    def call(self, *_: Any, **__: Any) -> None:
        """See the base class."""
        self._progress(self.value - self.told)
        self.told = self.value


class Store:
    """A folder at a URL, through fsspec; all failures are OutputErrors with operation and place.

    Raises:
        OutputError: fsspec does not support the URL, or its package is missing.
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
            raise OutputError(f"{url}: install the package for {protocol}://: {how}") from error
        except ValueError as error:
            raise OutputError(f"{url}: {first_line(error)}; give s3://bucket/..., gs://bucket/... or a path") from error

    def at(self, name: str) -> str:
        """The URL of a file, for messages."""
        return f"{self.url}/{name}"

    def sizes(self, folder: str) -> dict[str, int]:
        """All files in a folder and its subfolders: relative name -> size in bytes."""
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
        """The numbers of the versions with a saved_model.pb."""
        names = [name.split("/") for name in self.sizes("")]
        return {
            number
            for folder, file, *deeper in (parts for parts in names if len(parts) > 1)
            if file == SAVED_MODEL and not deeper and (number := version_of(folder)) is not None
        }

    def read(self, name: str) -> bytes | None:
        """The bytes of a small file; ``None`` if it does not exist."""
        with self._failing(name):
            self._fs.invalidate_cache()
            try:
                data: bytes = self._fs.cat_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return None
            return data

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, and check it by reading it back."""
        path = f"{self._root}/{name}"
        with self._failing(name):
            self._make_folder(name)
            if self._is_local:  # unlike in a store, readers could see a half-written file
                self._fs.pipe_file(f"{path}.tmp", data)
                self._fs.mv(f"{path}.tmp", path)
            else:
                self._fs.pipe_file(path, data)
        if self.read(name) != data:
            raise OutputError(f"{self.at(name)}: the store returned other bytes than were written; try again")

    def send(self, local: Path, name: str, size: int, progress: Progress) -> None:
        """Upload a file; an existing one is replaced."""
        sent = _Sent(progress)
        with self._failing(name):
            self._make_folder(name)
            self._fs.put_file(str(local), f"{self._root}/{name}", callback=sent)
        progress(size - sent.told)  # Not every store reports progress.

    def digest(self, name: str, progress: Progress) -> str:
        """sha256 of a file read back."""
        with self._failing(name), self._fs.open(f"{self._root}/{name}", "rb") as stream:
            return sha256(stream, progress)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
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
        # Each store has its own exceptions, and few of them are OSErrors.
        except Exception as error:
            kind, said = type(error).__name__, first_line(error)
            hint = ""
            if isinstance(error, PermissionError) or "redential" in kind + said or "Forbidden" in said:
                hint = "; check the credentials of the store's package, and their permissions"
            elif isinstance(error, FileNotFoundError):
                hint = "; check that the bucket exists"
            raise OutputError(f"{self.at(name)}: {kind}: {said}{hint}") from error


def sha256(stream: Any, progress: Progress) -> str:
    """sha256 (hex) of a stream."""
    made = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        made.update(chunk)
        progress(len(chunk))
    return made.hexdigest()
