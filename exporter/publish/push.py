"""Upload a version to an object store, or any other file system of fsspec. Servers see a complete version or none.

Object stores have no rename, and TensorFlow Serving loads a numbered folder as soon as its first file exists. Without
saved_model.pb the load fails, and after its retries the server does not try that number again. The order of the writes
is therefore:

1. The files under the version's number, each read back, saved_model.pb last: it makes the folder a SavedModel.
2. models.config in one write, with the version policy ``specific``: a server that reads it ignores other numbers. An
   entry with another policy is pinned to its loaded versions before step 1.

Before both, ``.rawbert/<version>.json`` next to the versions records the sha256 of every file. With it an interrupted
push can continue, and a push of other content under the same number is refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelConfigError, OutputError, SourceNotFound, VersionExists
from . import manifest, models_config
from .bundle import folders_by_version
from .models_config import ModelsConfig
from .store import SAVED_MODEL, Progress, Store, sha256

#: File name with slashes -> sha256 (hex) and size in bytes.
Files = Mapping[str, tuple[str, int]]


@dataclass(frozen=True)
class Pushed:
    """The result of a push.

    Attributes:
        url: URL of the version.
        version: number of the version.
        files: number of files.
        size: total size in bytes.
        sent: bytes sent by this push.
        models_config: URL of models.config; ``None`` if unchanged.
    """

    url: str
    version: int
    files: int
    size: int
    sent: int
    models_config: str | None


def push(
    folder: Path,
    url: str,
    *,
    version: int | None = None,
    with_config: bool = True,
    served_from: str | None = None,
    settle: float = 10.0,
    restart: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], Progress] = lambda total: lambda count: None,
) -> Pushed:
    """Copy a version of a model to a store for servers.

    Args:
        folder: the model's folder, with its versions.
        url: the model's folder in the store, such as ``s3://bucket/models/minilm``; models.config is next to it.
        version: number of the version; the newest if left out.
        with_config: whether models.config is written; without it a server that polls the folder may load an
            incomplete version.
        served_from: path of the models' folder on the servers, for a model new in models.config; the parent of
            ``url`` if left out.
        settle: seconds for servers to read models.config after its version policy was pinned.
        restart: remove the files of an unfinished push of other content under the same number.
        dry_run: write nothing.
        progress: called with the total bytes; returns a function that is called with bytes done.

    Raises:
        SourceNotFound: the version does not exist on this machine.
        VersionExists: the store has other content under the number.
        OutputError: the store cannot be read or written, or returns other bytes than were written.
        ModelConfigError: its models.config cannot be changed, so servers do not see the version.
    """
    number, path = _chosen(folder, version)
    local = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
    if SAVED_MODEL not in local:
        raise SourceNotFound(f"{path} has no {SAVED_MODEL}, so servers cannot load it: export the version again")
    sizes = {name: file.stat().st_size for name, file in local.items()}
    store = Store(url)
    tell = progress(3 * sum(sizes.values()))  # read, sent, compared
    wanted: Files = {name: (_digest_of(file, tell), sizes[name]) for name, file in local.items()}
    config = _Config(store, path, number, served_from) if with_config else None
    if config is not None:
        config.read()  # a faulty file raises before any write
    there = _claimed(store, number, wanted, restart=restart, dry_run=dry_run)
    sent = 0
    if not dry_run:
        if config is not None and SAVED_MODEL not in there:
            config.pin(settle)
        # saved_model.pb is last; until then the folder is not a SavedModel.
        for name in sorted(wanted, key=lambda name: (name == SAVED_MODEL, name)):
            if name == SAVED_MODEL and name not in there:
                _check_claim(store, number, wanted)
            sent += _send(store, f"{number}/{name}", local[name], wanted[name], there.get(name), tell)
        if config is not None:
            config.publish()
    else:
        sent = sum(size for name, size in sizes.items() if there.get(name) != size)
    made = store.at(str(number))
    return Pushed(made, number, len(local), sum(sizes.values()), sent, config.url if config is not None else None)


def _chosen(folder: Path, version: int | None) -> tuple[int, Path]:
    found = folders_by_version(folder)
    if not found:
        is_version = (folder / SAVED_MODEL).is_file()
        raise SourceNotFound(
            f"{folder} has no versions: " + ("give the folder of its model" if is_version else "export the model first")
        )
    if version is not None and version not in found:
        raise SourceNotFound(f"{folder} has no version {version}: choose from {', '.join(map(str, sorted(found)))}")
    number = max(found) if version is None else version
    return number, found[number]


def _claim_file(number: int) -> str:
    return f".rawbert/{number}.json"


def _record(wanted: Files) -> bytes:
    files = {name: {"sha256": digest, "size": size} for name, (digest, size) in sorted(wanted.items())}
    return json.dumps({"files": files}, indent=1).encode() + b"\n"


def _claimed(store: Store, number: int, wanted: Files, *, restart: bool, dry_run: bool) -> dict[str, int]:
    """Claim the number for this content; returns the sizes of the files in the store under the number.

    Raises:
        VersionExists: the number has other content.
    """
    there, claim = store.sizes(str(number)), store.read(_claim_file(number))
    at = store.at(str(number))
    if claim == _record(wanted):
        if extra := sorted(there.keys() - wanted.keys()):
            raise VersionExists(f"{at} has additional files: {', '.join(extra)}; remove them from the store")
        return there
    if SAVED_MODEL in there:
        # Without a record, such as after a copy with other tools: compare the files.
        differing = sorted(there.keys() ^ wanted.keys()) or [
            name for name, (digest, size) in wanted.items()
            if there[name] != size or store.digest(f"{number}/{name}", lambda count: None) != digest
        ]  # fmt: skip
        if differing:
            raise VersionExists(
                f"{at} has other content ({', '.join(differing[:3])}): versions are never overwritten; export or copy "
                "the version under a new number"
            )
    elif there or claim is not None:
        if not restart:
            raise VersionExists(f"{at} has an unfinished push of other content: --restart removes its files")
        if not dry_run:
            for name in there:
                store.remove(f"{number}/{name}")
        there = {}
    if not dry_run:
        store.write(_claim_file(number), _record(wanted))
    return there


def _check_claim(store: Store, number: int, wanted: Files) -> None:
    """Check, right before a version becomes complete, that no other push has claimed its number."""
    if store.read(_claim_file(number)) != _record(wanted):
        raise VersionExists(
            f"{store.at(str(number))}: another push of other content has claimed the number; export under a new one"
        )


def _send(store: Store, name: str, local: Path, wanted: tuple[str, int], there: int | None, progress: Progress) -> int:
    """Send a file unless the store has it, and read it back; returns the number of bytes sent."""
    digest, size = wanted
    if there == size and store.digest(name, progress) == digest:
        progress(size)
        return 0
    store.send(local, name, size, progress)
    if store.digest(name, progress) != digest:
        if name.endswith(f"/{SAVED_MODEL}"):
            store.remove(name)
        raise OutputError(
            f"{store.at(name)}: the store returned other bytes than were sent; the version is not published, try again"
        )
    return size


def _digest_of(path: Path, progress: Progress) -> str:
    with path.open("rb") as stream:
        return sha256(stream, progress)


class _Config:
    """The models.config next to the model in the store.

    Args:
        store: the model's folder.
        path: the version's local folder.
        number: number of the version.
        served_from: path of the models' folder on the servers.
    """

    def __init__(self, store: Store, path: Path, number: int, served_from: str | None) -> None:
        parent, _, folder = store.url.rpartition("/")
        if not parent or parent.endswith("/") or not folder:
            raise ModelConfigError(
                f"{store.url} has no folder above it for a {models_config.FILE}: give one, such as {store.url}/minilm, "
                "or --no-models-config"
            )
        self._store, self._number = store, number
        self._beside = Store(parent)
        self._name = str((manifest.read(path) or {}).get("name") or folder)
        self._folder = folder
        self._base_path = f"{served_from.rstrip('/')}/{folder}" if served_from else store.url.removeprefix("file://")
        self.url = self._beside.at(models_config.FILE)

    def read(self) -> ModelsConfig:
        """The current file.

        Raises:
            ModelConfigError: it cannot be parsed, or its entry with the name has another folder.
        """
        data = self._beside.read(models_config.FILE) or b""
        try:
            config = ModelsConfig(Path(models_config.FILE), data.decode())
        except (ModelConfigError, UnicodeDecodeError) as error:
            raise ModelConfigError(f"{self.url}: {error}") from error
        found = config.find(self._name)
        if found is not None and found.folder_name != self._folder:
            raise ModelConfigError(
                f"{self.url} has the name {self._name} for {found.base_path}, not for {self._folder}: correct the entry"
            )
        return config

    def pin(self, settle: float) -> None:
        """Pin servers to their loaded versions, before the folder of another version appears."""
        config = self.read()
        entry = config.find(self._name)
        if entry is None or entry.policy == "specific":
            return
        if loaded := entry.loads(sorted(self._store.versions())):
            config.load_only(self._name, loaded)
            self._write(config)
            time.sleep(settle)

    def publish(self) -> None:
        """Make servers load the version, the newest one, and all with labels."""
        config, present = self.read(), self._store.versions()
        if (entry := config.find(self._name)) is None:
            entry = config.add(self._name, self._base_path)
        labelled = set(entry.labels.values()) & present
        config.load_only(self._name, labelled | {self._number, max(present)})
        self._write(config)

    def _write(self, config: ModelsConfig) -> None:
        if self._beside.read(models_config.FILE) != config.text.encode():
            self._beside.write(models_config.FILE, config.text.encode())
