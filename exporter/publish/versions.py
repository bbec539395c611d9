"""Published versions, their labels, and their removal.

Each change is made under the lock of models.config, so that two processes do not interfere.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .. import scratch
from ..errors import ModelConfigError
from . import bundle, manifest, models, models_config
from .bundle import Staging, folders_by_version
from .models import Model
from .models_config import Entry, ModelsConfig


@dataclass(frozen=True)
class Change:
    """A change of a label: the version before (``None`` for a new label) and now."""

    model: str
    label: str
    before: int | None
    version: int


@dataclass(frozen=True)
class Pruned:
    """Removed versions, and versions that were kept in addition to the newest N, with the reason."""

    removed: tuple[int, ...]
    kept: dict[int, str]


@dataclass(frozen=True)
class Version:
    """A version on disk.

    Attributes:
        number: version number.
        labels: labels that point to it.
        rollback_of: labels that a rollback would point to it.
        loaded: whether servers load it by models.config.
        created: time of the export, ISO 8601; ``None`` without a manifest.
        source: source of the export.
        precision: dtype of its computation.
        size: size in bytes.
    """

    number: int
    labels: tuple[str, ...]
    rollback_of: tuple[str, ...]
    loaded: bool
    created: str | None
    source: str | None
    precision: str | None
    size: int


def publish(staging: Staging, path: Path, folder: Path, name: str, served_from: str) -> tuple[Path, int]:
    """Publish a version, and list its model in the models.config at ``path``.

    Raises:
        ModelConfigError: models.config cannot be changed; nothing was published.
        VersionExists, OutputError: as :meth:`Staging.publish`.
    """
    with models_config.locked(path) as config:
        models.claim(config, folder, name)
        is_listed = config.find(name) is not None
        if is_listed and config.keep_loaded(name, sorted({*folders_by_version(folder), staging.number()})):
            config.save()  # first: a server that sees the version before the policy would unload a labelled one
        try:
            return staging.publish()
        finally:
            # Second, because a server waits forever for a model without versions. Also after a late interrupt.
            if not is_listed and staging.published is not None:
                version, number = staging.published
                try:
                    config.add(name, str(PurePosixPath(served_from, folder.name)))
                    config.save()
                except ModelConfigError as error:
                    raise ModelConfigError(f"version {number} is published ({version}), but {error}") from error


def promote(model: Model, version: int, label: str, served_from: str = models_config.SERVED_FROM) -> Change:
    """Point a label to a version.

    Raises:
        ModelConfigError: there is no such version, or the model's version policy does not load it.
    """
    with models_config.locked(model.config) as config:
        present = sorted(folders_by_version(model.folder))
        if version not in present:
            found = ", ".join(map(str, present)) or "none"
            raise ModelConfigError(f"{model.folder} has no version {version}; choose from: {found}")
        entry = models.entry(config, model.folder, served_from)
        now = entry.labels.get(label)
        if now != version:
            before = () if now is None else (now, *config.history.before(entry.name, label, now))
            _move(config, entry, label, version, before, present)
            config.history.save()
            config.save()
    return Change(entry.name, label, now, version)


def rollback(model: Model, label: str) -> Change:
    """Point a label to its previous version among those that still exist.

    Raises:
        ModelConfigError: there is none.
    """
    with models_config.locked(model.config) as config:
        present = sorted(folders_by_version(model.folder))
        entry = models.entry(config, model.folder, None)
        now = entry.labels.get(label)
        if now is None:
            near = models.did_you_mean(label, entry.labels)
            raise ModelConfigError(f"{config.path}: the model {entry.name} has no label {label}{near}")
        before = config.history.before(entry.name, label, now)
        version = _target(config, entry, label, present)
        if version is None:
            gone = f"; its earlier versions ({', '.join(map(str, before))}) are gone" if before else ""
            raise ModelConfigError(
                f"{label} of {entry.name} is at {now} and has no earlier version{gone}; see rawbert versions"
            )
        _move(config, entry, label, version, before[before.index(version) + 1 :], present)
        config.save()
        config.history.save()
    return Change(entry.name, label, now, version)


def prune(model: Model, keep: int, dry_run: bool = False) -> Pruned:
    """Remove old versions, except the newest ``keep`` and those that must stay.

    A version must stay if a label points to it or would after a rollback, or if a version policy lists it. With
    ``dry_run`` nothing is removed, only listed.

    Raises:
        ValueError: ``keep`` is below 1.
        ModelConfigError: models.config cannot be read.
        OutputError: a version cannot be removed.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}: give 1 or more, because the newest version always stays")
    with models_config.locked(model.config) as config:
        folders = folders_by_version(model.folder)
        entries = models.entries(config, model.folder)
        old = sorted(folders)[:-keep]
        kept = {number: why for number in old if (why := _reason(config, entries, sorted(folders), number))}
        removed = tuple(number for number in old if number not in kept)
        if removed and not dry_run:
            for entry in entries:
                config.history.forget(entry.name, set(removed))
            config.history.save()  # first: a number that is free may be given to another version
            for number in removed:
                bundle.remove(folders[number])
        scratch.clean(model.folder)
    return Pruned(removed, kept)


def listed(model: Model) -> tuple[str, list[Version]]:
    """Name and versions of a model, the newest first.

    Raises:
        ModelConfigError: models.config cannot be parsed.
    """
    config = models_config.read(model.config)
    entries = models.entries(config, model.folder)
    folders = folders_by_version(model.folder)
    numbers = sorted(folders)
    labels = [(entry, label) for entry in entries for label in entry.labels]
    found = []
    for number in reversed(numbers):
        made = manifest.read(folders[number]) or {}
        source, recipe = made.get("source") or {}, made.get("recipe") or {}
        found.append(
            Version(
                number=number,
                labels=tuple(label for entry, label in labels if entry.labels[label] == number),
                rollback_of=tuple(label for entry, label in labels if _target(config, entry, label, numbers) == number),
                loaded=any(number in entry.loads(numbers) for entry in entries),
                created=made.get("created"),
                source=source.get("handle") or source.get("location"),
                precision=recipe.get("precision"),
                size=bundle.size_of(folders[number]),
            )
        )
    return (entries[0].name if entries else model.folder.name), found


def _target(config: ModelsConfig, entry: Entry, label: str, present: list[int]) -> int | None:
    """The version of a label after a rollback."""
    now = entry.labels[label]
    before = config.history.before(entry.name, label, now)
    return next((number for number in before if number in present and number != now), None)


def _reason(config: ModelsConfig, entries: list[Entry], present: list[int], number: int) -> str | None:
    """The reason why a version must stay, independent of its age."""
    reasons = [f"it is {label}" for entry in entries for label, at in entry.labels.items() if at == number]
    for entry in entries:
        ways = [label for label in entry.labels if _target(config, entry, label, present) == number]
        reasons += [f"a rollback of {label} returns to it" for label in ways]
        reasons += [f"the version policy of {entry.name} lists it"] if number in entry.specific else []
    return reasons[0] if reasons else None


def _move(
    config: ModelsConfig, entry: Entry, label: str, version: int, before: tuple[int, ...], present: list[int]
) -> None:
    """Point a label to a version, and record its earlier version; the caller saves both files."""
    # A model without a policy gets one with its first label.
    if entry.has_policy and version not in entry.loads(present):
        raise ModelConfigError(
            f"{config.path}: the version policy of {entry.name} ({entry.policy}) does not load version {version}, and "
            "a server refuses a label that moves to a version which is not loaded; change the policy to load it (all "
            "{} loads every version here), wait until it is AVAILABLE (rawbert status), and then promote it"
        )
    config.label(entry.name, label, version)
    config.history.note(entry.name, label, version, before)
