"""Published versions: which there are, which labels they carry, and which may go.

Everything here that changes something holds the lock of models.config, so two of them never mix.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .. import scratch
from ..errors import ModelConfigError
from . import bundle, manifest, models_config
from .bundle import Staging
from .models_config import Entry, ModelConfig

__all__ = [
    "Change",
    "Model",
    "Pruned",
    "Version",
    "find",
    "find_all",
    "promote",
    "prune",
    "publish",
    "rollback",
    "versions",
    "warnings",
]


@dataclass(frozen=True)
class Model:
    """A model's folder, and the models.config beside it."""

    folder: Path
    config: Path


@dataclass(frozen=True)
class Change:
    """What became of a label: the version before (``None`` for a new label) and now."""

    model: str
    label: str
    before: int | None
    version: int


@dataclass(frozen=True)
class Pruned:
    """Versions that were removed, and for those older than the newest N that were kept, why."""

    removed: tuple[int, ...]
    kept: dict[int, str]


@dataclass(frozen=True)
class Version:
    """A version on disk.

    Attributes:
        number: its number.
        labels: that point to it.
        rollback_of: labels that a rollback would bring here.
        loaded: whether models.config has servers load it.
        created: when, ISO 8601; ``None`` where there is no manifest.
        source: what it was made from.
        precision: of its computation.
        size: bytes.
    """

    number: int
    labels: tuple[str, ...]
    rollback_of: tuple[str, ...]
    loaded: bool
    created: str | None
    source: str | None
    precision: str | None
    size: int


def find(model: str, models: Path) -> Model:
    """The model that is meant by its folder, or by its name in the folder ``models``.

    Raises:
        ModelConfigError: there is none.
    """
    found = [folder for folder in (Path(model), models / model) if folder.is_dir()]
    if not found:
        entry = models_config.read(models / models_config.FILE).find(model)
        if entry is not None:
            found = [folder for folder in (models / PurePosixPath(entry.base_path).name,) if folder.is_dir()]
    if not found:
        raise ModelConfigError(
            f"there is no model {model}: neither a folder of that path, nor one of that name in {models} "
            "(--models names another folder)"
        )
    # The checkpoint may have the model's name: what has versions is meant.
    folder = max(found, key=lambda each: bool(bundle.versions(each))).absolute()
    if (folder / "saved_model.pb").is_file():
        raise ModelConfigError(f"{folder} is a version; name the folder of the model, {folder.parent}")
    return Model(folder, folder.parent / models_config.FILE)


def find_all(models: Path) -> list[Model]:
    """The models that have versions in the folder ``models``, by name.

    Raises:
        ModelConfigError: there is none.
    """
    folders = sorted(folder for folder in models.absolute().iterdir() if folder.is_dir()) if models.is_dir() else []
    found = [Model(folder, folder.parent / models_config.FILE) for folder in folders if bundle.versions(folder)]
    if not found:
        raise ModelConfigError(f"there are no models in {models} (--models names another folder)")
    return found


def publish(staging: Staging, config: Path, folder: Path, name: str, served_from: str) -> tuple[Path, int]:
    """Publish a version, and see that models.config knows its model.

    Raises:
        ModelConfigError: models.config cannot be changed; nothing was published.
        VersionExists, OutputError: as :meth:`Staging.publish`.
    """
    with models_config.locked(config) as models:
        _claim(models, folder, name)
        entry = models.find(name)
        present = sorted({*bundle.versions(folder), staging.number()})
        if entry is not None and models.keep_loaded(name, present):
            models.save()  # first: a server that sees the version before the policy would unload a labelled one
        try:
            return staging.publish()
        finally:
            # Then: a server waits for ever for a model without versions. After an interrupt too, if it came so late.
            if entry is None and staging.published is not None:
                path, version = staging.published
                try:
                    models.add(name, str(PurePosixPath(served_from, folder.name)))
                    models.save()
                except ModelConfigError as error:
                    raise ModelConfigError(f"version {version} is published ({path}), but {error}") from error


def check(config: Path, folder: Path, name: str) -> None:
    """Refuse a models.config to which the model cannot be added, before anything is done for it.

    Raises:
        ModelConfigError: it cannot be parsed or written, or has the name for another model.
    """
    _claim(models_config.read(config), folder, name)
    if config.parent.is_dir() and not os.access(config.parent, os.W_OK):
        raise ModelConfigError(
            f"{config} cannot be written: no permission for its folder; mend that, or leave the file alone with "
            "--no-models-config"
        )


def _claim(models: ModelConfig, folder: Path, name: str) -> None:
    entry = models.find(name)
    if entry is not None and PurePosixPath(entry.base_path).name != folder.name:
        raise ModelConfigError(
            f"{models.path} has the name {name} for {entry.base_path}, not for {folder}; give another --name, or "
            "--no-models-config to leave that file alone"
        )


def promote(model: Model, version: int, label: str, served_from: str = models_config.SERVED_FROM) -> Change:
    """Point a label to a version.

    Raises:
        ModelConfigError: there is no such version, or the model's version policy does not load it.
    """
    with models_config.locked(model.config) as models:
        present = sorted(bundle.versions(model.folder))
        if version not in present:
            found = ", ".join(map(str, present)) or "none"
            raise ModelConfigError(f"{model.folder} has no version {version}; there are: {found}")
        entry = _entry(models, model, served_from)
        before = entry.labels.get(label)
        if before != version:
            _require_loaded(models.path, entry, present, version)
            history = () if before is None else (before, *entry.before[label])
            models.label(entry.name, label, version, history)
            models.save()
    return Change(entry.name, label, before, version)


def rollback(model: Model, label: str) -> Change:
    """Point a label to the version that it was at before, of those that are still there.

    Raises:
        ModelConfigError: there is none.
    """
    with models_config.locked(model.config) as models:
        present = sorted(bundle.versions(model.folder))
        entry = _entry(models, model, None)
        now = entry.labels.get(label)
        if now is None:
            raise ModelConfigError(f"{models.path}: the model {entry.name} has no label {label}")
        before = entry.before[label]
        for at, version in enumerate(before):
            if version in present and version != now:
                _require_loaded(models.path, entry, present, version)
                models.label(entry.name, label, version, before[at + 1 :])
                models.save()
                return Change(entry.name, label, now, version)
    gone = f"; what it was before ({', '.join(map(str, before))}) is gone" if before else ""
    raise ModelConfigError(f"{label} of {entry.name} is at {now} and was nowhere before{gone}")


def prune(model: Model, keep: int, dry_run: bool = False) -> Pruned:
    """Remove old versions: not the newest ``keep``, nor one that a label points to, or a rollback would.

    With ``dry_run`` nothing is removed: the answer says what would be.

    Raises:
        ValueError: ``keep`` is below 1.
        ModelConfigError, OutputError: models.config cannot be changed, or a version not removed.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}: the newest version always stays, so give 1 or more")
    with models_config.locked(model.config) as models:
        present = bundle.versions(model.folder)
        entries = _entries(models, model.folder)
        reasons = _reasons(entries, sorted(present))
        old = sorted(present)[:-keep]
        removed = [number for number in old if number not in reasons]
        if removed and not dry_run:
            for entry in entries:
                models.forget(entry.name, set(removed))
            models.save()  # first: no list of versions names one that is gone
            for number in removed:
                bundle.remove(present[number])
        scratch.clean(model.folder)
    return Pruned(tuple(removed), {number: reasons[number] for number in old if number in reasons})


def versions(model: Model) -> tuple[str, list[Version]]:
    """Name and versions of a model, the newest first.

    Raises:
        ModelConfigError: models.config cannot be parsed.
    """
    models = models_config.read(model.config)
    present = bundle.versions(model.folder)
    entries = _entries(models, model.folder)
    numbers = sorted(present)
    found = []
    for number in reversed(numbers):
        made = manifest.read(present[number]) or {}
        source = made.get("source") or {}
        found.append(
            Version(
                number=number,
                labels=tuple(label for entry in entries for label, at in entry.labels.items() if at == number),
                rollback_of=tuple(
                    label for entry in entries for label in entry.labels if _target(entry, label, numbers) == number
                ),
                loaded=any(number in entry.loads(numbers) for entry in entries),
                created=made.get("created"),
                source=source.get("handle") or source.get("location"),
                precision=made.get("precision"),
                size=bundle.size_of(present[number]),
            )
        )
    return (entries[0].name if entries else model.folder.name), found


def warnings(config: Path) -> list[str]:
    """What in a models.config keeps servers from loading new versions, a line each.

    Raises:
        ModelConfigError: it cannot be parsed.
    """
    return [
        f"{config} lists {entry.name} in {entry.base_path}, and its folder is gone: TensorFlow Serving loads no new "
        "version of any model until the entry is removed or the folder is back"
        for entry in models_config.read(config).missing()
    ]


def _entries(models: ModelConfig, folder: Path) -> list[Entry]:
    # The path is the server's, and perhaps a container's: the folder's own name is what both share.
    return [entry for entry in models.entries() if PurePosixPath(entry.base_path).name == folder.name]


def _entry(models: ModelConfig, model: Model, served_from: str | None) -> Entry:
    """The one entry of a model; made where there is none and ``served_from`` is given."""
    entries = _entries(models, model.folder)
    if not entries:
        if served_from is None:
            raise ModelConfigError(f"{models.path} has no model in {model.folder.name}")
        newest = bundle.versions(model.folder)
        made = manifest.read(newest[max(newest)]) if newest else None
        name = str((made or {}).get("name") or model.folder.name)
        if models.find(name) is not None:  # the folder is a copy of that model's
            name = model.folder.name
        _claim(models, model.folder, name)
        models.add(name, str(PurePosixPath(served_from, model.folder.name)))
        entries = _entries(models, model.folder)
    if len(entries) > 1:
        names = ", ".join(entry.name for entry in entries)
        raise ModelConfigError(f"{models.path} has several models in {model.folder.name}: {names}; edit it by hand")
    return entries[0]


def _target(entry: Entry, label: str, present: list[int]) -> int | None:
    """Where a rollback would bring a label."""
    return next((number for number in entry.before[label] if number in present and number != entry.labels[label]), None)


def _reasons(entries: list[Entry], present: list[int]) -> dict[int, str]:
    """Versions that must stay whatever their age, and why."""
    reasons: dict[int, str] = {}
    for entry in entries:
        for label in entry.labels:
            target = _target(entry, label, present)
            if target is not None:
                reasons.setdefault(target, f"a rollback of {label} goes there")
    for entry in entries:
        for label, number in entry.labels.items():
            reasons[number] = f"it is {label}"
    return reasons


def _require_loaded(path: Path, entry: Entry, present: list[int], version: int) -> None:
    # Without a policy of its own the model gets one with its first label.
    if entry.has_policy and version not in entry.loads(present):
        raise ModelConfigError(
            f"{path}: the version policy of {entry.name} ({entry.policy}) does not load version {version}, and a "
            "server refuses a label that moves to a version which is not loaded; have the policy load it (all {} loads "
            "every version here), wait until it is AVAILABLE (rawbert status), and promote it then"
        )
