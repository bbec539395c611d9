"""A version to an object store, or any other file system that fsspec knows: seen whole, or not at all.

There is no rename there, and TensorFlow Serving takes a folder for a version as soon as its first file is there:
without a saved_model.pb the load fails, and after its retries that number is not tried again. So a version becomes
visible twice:

1. Its files are written under its number and read back, saved_model.pb last: without it there is no SavedModel.
2. models.config is written, in one piece, with the version policy ``specific``: a server that reads it does not look
   at other numbers. An entry with another policy is first pinned to what it loads now.

``.rawbert/<version>.json`` beside the versions is written first: the sha256 of every file. By it a push that was killed
goes on, and one of another content under the same number is refused.
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

#: sha256 (hex) and size of each file, by its name with slashes.
Files = Mapping[str, tuple[str, int]]


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        url: the version there.
        version: its number.
        files: number of its files.
        size: their bytes.
        sent: bytes of those that were not there yet.
        models_config: the models.config that was changed; ``None`` where it was not.
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
    """Copy a version of a model to another place, where servers find it.

    Args:
        folder: the model's folder, which has its versions.
        url: the model's folder there, such as ``s3://bucket/models/minilm``; models.config is beside it.
        version: which one; the newest if left out.
        with_config: whether models.config is written; without it a server that polls the folder may see the version
            too soon.
        served_from: the folder of the models as servers see it, for a model that models.config lacks; that of
            ``url`` if left out.
        settle: seconds to wait where models.config had to be changed first, for servers to read it.
        restart: remove what an unfinished push of another content has left under the number.
        dry_run: only look.
        progress: called with the bytes that there are to do; answers a function that is called with bytes done.

    Raises:
        SourceNotFound: there is no such version here.
        VersionExists: another content is there under the number.
        OutputError: the store cannot be read or written, or does not keep what was written.
        ModelConfigError: its models.config cannot be changed: servers that go by it do not see the version.
    """
    number, path = _chosen(folder, version)
    local = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
    if SAVED_MODEL not in local:
        raise SourceNotFound(f"{path} has no {SAVED_MODEL}: it is no version that a server can load")
    sizes = {name: file.stat().st_size for name, file in local.items()}
    store = Store(url)
    tell = progress(3 * sum(sizes.values()))  # read, sent, compared
    wanted: Files = {name: (_digest_of(file, tell), sizes[name]) for name, file in local.items()}
    config = _Config(store, path, number, served_from) if with_config else None
    if config is not None:
        config.read()  # what is wrong with it is said before anything is written
    there = _claimed(store, number, wanted, restart=restart, dry_run=dry_run)
    sent = 0
    if not dry_run:
        if config is not None and SAVED_MODEL not in there:
            config.pin(settle)
        # saved_model.pb is the last; until then nothing there is a SavedModel.
        for name in sorted(wanted, key=lambda name: (name == SAVED_MODEL, name)):
            if name == SAVED_MODEL and name not in there:
                _see_claim(store, number, wanted)
            sent += _bring(store, f"{number}/{name}", local[name], wanted[name], there.get(name), tell)
        if config is not None:
            config.publish()
    else:
        sent = sum(size for name, size in sizes.items() if there.get(name) != size)
    made = store.at(str(number))
    return Pushed(made, number, len(local), sum(sizes.values()), sent, config.url if config is not None else None)


def _chosen(folder: Path, version: int | None) -> tuple[int, Path]:
    found = folders_by_version(folder)
    if not found:
        inner = " (it is a version: give the folder of its model)" if (folder / SAVED_MODEL).is_file() else ""
        raise SourceNotFound(f"{folder} has no versions{inner}")
    if version is not None and version not in found:
        raise SourceNotFound(f"{folder} has no version {version}: there are {', '.join(map(str, sorted(found)))}")
    number = max(found) if version is None else version
    return number, found[number]


def _claim_file(number: int) -> str:
    return f".rawbert/{number}.json"


def _record(wanted: Files) -> bytes:
    files = {name: {"sha256": digest, "size": size} for name, (digest, size) in sorted(wanted.items())}
    return json.dumps({"files": files}, indent=1).encode() + b"\n"


def _claimed(store: Store, number: int, wanted: Files, *, restart: bool, dry_run: bool) -> dict[str, int]:
    """The files that are there under the number, which is claimed for this content.

    Raises:
        VersionExists: it is another's.
    """
    there, claim = store.sizes(str(number)), store.read(_claim_file(number))
    at = store.at(str(number))
    if claim == _record(wanted):
        if extra := sorted(there.keys() - wanted.keys()):
            raise VersionExists(f"{at} has files that the version here has not: {', '.join(extra)}; remove them there")
        return there
    if SAVED_MODEL in there:
        # Copied there by other means, perhaps: the files decide.
        differing = sorted(there.keys() ^ wanted.keys()) or [
            name for name, (digest, size) in wanted.items()
            if there[name] != size or store.digest(f"{number}/{name}", lambda count: None) != digest
        ]  # fmt: skip
        if differing:
            raise VersionExists(
                f"{at} is another content ({', '.join(differing[:3])}): a number is never given twice; export or copy "
                "the version under a new one"
            )
    elif there or claim is not None:
        if not restart:
            raise VersionExists(f"{at} is a push of another content that did not end: --restart removes what it left")
        if not dry_run:
            for name in there:
                store.remove(f"{number}/{name}")
        there = {}
    if not dry_run:
        store.write(_claim_file(number), _record(wanted))
    return there


def _see_claim(store: Store, number: int, wanted: Files) -> None:
    """See, right before a version becomes whole, that nobody else has begun to write under its number."""
    if store.read(_claim_file(number)) != _record(wanted):
        raise VersionExists(f"{store.at(str(number))}: another push of another content has begun under that number")


def _bring(store: Store, name: str, local: Path, wanted: tuple[str, int], there: int | None, progress: Progress) -> int:
    """Have a file there, and read it back; the bytes that were sent."""
    digest, size = wanted
    if there == size and store.digest(name, progress) == digest:
        progress(size)
        return 0
    store.send(local, name, size, progress)
    if store.digest(name, progress) != digest:
        if name.endswith(f"/{SAVED_MODEL}"):
            store.remove(name)
        raise OutputError(f"{store.at(name)}: what is read back is not what was sent; the version is not published")
    return size


def _digest_of(path: Path, progress: Progress) -> str:
    with path.open("rb") as stream:
        return sha256(stream, progress)


class _Config:
    """The models.config beside the model there.

    Args:
        store: the model's folder.
        path: the version's folder here.
        number: the version.
        served_from: the folder of the models as servers see it.
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
        """The file as it is now.

        Raises:
            ModelConfigError: it cannot be parsed, or has the name for another folder.
        """
        data = self._beside.read(models_config.FILE) or b""
        try:
            config = ModelsConfig(Path(models_config.FILE), data.decode())
        except (ModelConfigError, UnicodeDecodeError) as error:
            raise ModelConfigError(f"{self.url}: {error}") from error
        found = config.find(self._name)
        if found is not None and found.folder_name != self._folder:
            raise ModelConfigError(
                f"{self.url} has the name {self._name} for {found.base_path}, not for {self._folder}"
            )
        return config

    def pin(self, settle: float) -> None:
        """Have servers keep to the versions that they load now, before the folder of another one appears."""
        config = self.read()
        entry = config.find(self._name)
        if entry is None or entry.policy == "specific":
            return
        if loaded := entry.loads(sorted(self._store.versions())):
            config.load_only(self._name, loaded)
            self._write(config)
            time.sleep(settle)

    def publish(self) -> None:
        """Have servers load the version, the newest, and those that have labels."""
        config, present = self.read(), self._store.versions()
        if (entry := config.find(self._name)) is None:
            entry = config.add(self._name, self._base_path)
        labelled = set(entry.labels.values()) & present
        config.load_only(self._name, labelled | {self._number, max(present)})
        self._write(config)

    def _write(self, config: ModelsConfig) -> None:
        if self._beside.read(models_config.FILE) != config.text.encode():
            self._beside.write(models_config.FILE, config.text.encode())
