"""The model named by the user: its folder, and its entry in the models.config next to it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from ..errors import ModelConfigError
from . import manifest, models_config
from .bundle import folders_by_version, version_folder
from .models_config import Entry, ModelsConfig


@dataclass(frozen=True)
class Model:
    """A model's folder, and the models.config next to it."""

    folder: Path
    config: Path


def find(model: str | Path, models: Path) -> Model:
    """The model with this folder, or with this name in the folder ``models``.

    Raises:
        ModelConfigError: no such model; the message describes the given path.
    """
    found = [folder for folder in (Path(model), models / model) if folder.is_dir()]
    if not found:
        config = models_config.read(models / models_config.FILE)
        named = config.find(str(model))
        if named is not None:
            found = [folder for folder in (models / named.folder_name,) if folder.is_dir()]
        elif Path(model).exists():
            raise ModelConfigError(f"{model} is a file: give the folder of a model, or its name")
        else:
            near = did_you_mean(str(model), [*(each.name for each in config.entries()), *_models_in(models)])
            raise ModelConfigError(
                f"there is no model {model}: neither a folder of that path, nor one of that name in {models} "
                f"(--models names another folder){near}"
            )
    # A checkpoint may have the same name: prefer the folder with versions.
    folder = max(found, key=lambda each: bool(folders_by_version(each))).absolute()
    if (folder / "saved_model.pb").is_file():
        raise ModelConfigError(f"{folder} is a version; name the folder of the model, {folder.parent}")
    if not folders_by_version(folder):
        inner = _models_in(folder)
        what = f"is a folder of models: name one of them ({', '.join(inner)})" if inner else "has no versions"
        raise ModelConfigError(f"{folder} {what}")
    return Model(folder, folder.parent / models_config.FILE)


def find_all(models: Path) -> list[Model]:
    """The models with versions in the folder ``models``, sorted by name.

    Raises:
        ModelConfigError: there is none.
    """
    found = [Model(models.absolute() / name, models.absolute() / models_config.FILE) for name in _models_in(models)]
    if not found:
        what = f"{models} is a model itself" if folders_by_version(models) else f"there are no models in {models}"
        raise ModelConfigError(f"{what} (--models names another folder)")
    return found


def saved_model(path: Path) -> Path:
    """The folder of a SavedModel: ``path`` itself, or the newest version of the model in it.

    The folder may still lack a saved_model.pb, which its reader reports.

    Raises:
        ModelConfigError: there is no such folder, or it is one of models.
    """
    folder = version_folder(path)
    if path.is_file():
        raise ModelConfigError(f"{path} is a file: give the folder of a version, or of a model")
    if not path.is_dir():
        siblings = path.parent.iterdir() if path.parent.is_dir() else ()
        models = {name: f"models/{name}" for name in _models_in("models")}
        near = did_you_mean(str(path), [str(path.with_name(each.name)) for each in siblings])
        near = near or did_you_mean(path.name, models).replace(" mean ", " mean models/")
        listed = f"; there are {', '.join(models.values())}" if models else ""
        raise ModelConfigError(
            f"there is no folder {path}{near or listed or '; give that of a version, or of a model'}"
        )
    if folder == path and not (path / "saved_model.pb").exists() and (inner := _models_in(path)):
        raise ModelConfigError(f"{path} is a folder of models: give one of them, such as {path / inner[0]}")
    return folder


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question about the most similar known name; empty if there is none."""
    near = get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _models_in(folder: str | Path) -> list[str]:
    """Names of the folders in a folder that have versions."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(each.name for each in folder.iterdir() if each.is_dir() and folders_by_version(each))


def entries(config: ModelsConfig, folder: Path) -> list[Entry]:
    """The entries of models.config for a folder; it may have several names."""
    return [each for each in config.entries() if each.folder_name == folder.name]


def entry(config: ModelsConfig, folder: Path, served_from: str | None) -> Entry:
    """The only entry of a model; added if there is none and ``served_from`` is given.

    Raises:
        ModelConfigError: there is none, or there are several, or it cannot be added.
    """
    found = entries(config, folder)
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise ModelConfigError(f"{config.path} has several models in {folder.name}: {names}; edit it by hand")
    if found:
        return found[0]
    if served_from is None:
        raise ModelConfigError(f"{config.path} lists no model in {folder.name}; add it with rawbert promote")
    made = manifest.read(version_folder(folder)) or {}
    name = str(made.get("name") or folder.name)
    if config.find(name) is not None:  # the folder is a copy of that model's
        name = folder.name
    claim(config, folder, name)
    return config.add(name, str(PurePosixPath(served_from, folder.name)))


def claim(config: ModelsConfig, folder: Path, name: str) -> None:
    """Refuse a name that models.config has for another folder.

    Raises:
        ModelConfigError: another folder has the name.
    """
    found = config.find(name)
    if found is not None and found.folder_name != folder.name:
        raise ModelConfigError(
            f"{config.path} has the name {name} for {found.base_path}, not for {folder}; give another --name, or "
            "--no-models-config to leave that file alone"
        )


def check(config: Path, folder: Path, name: str) -> None:
    """Refuse a models.config to which the model cannot be added, before the export starts.

    Raises:
        ModelConfigError: it cannot be parsed or written, or has the name for another model.
    """
    claim(models_config.read(config), folder, name)
    if config.parent.is_dir() and not os.access(config.parent, os.W_OK):
        raise ModelConfigError(
            f"{config} cannot be written: no permission for its folder; change that, or use --no-models-config"
        )


def warnings(config: Path) -> list[str]:
    """Faults in a models.config that prevent servers from starting or from loading new versions, one line each.

    Raises:
        ModelConfigError: it cannot be parsed.
    """
    entries = models_config.read(config).entries()
    # The folders next to the file are in one parent folder on the server, too. Other folders are not visible here.
    roots = {PurePosixPath(each.base_path).parent for each in entries if (config.parent / each.folder_name).is_dir()}
    lines = []
    for each in entries:
        folder, base_path = config.parent / each.folder_name, Path(each.base_path)
        if not folder.is_dir() and not base_path.is_dir() and PurePosixPath(each.base_path).parent in roots:
            # The server stops polling the base paths at the first missing one.
            lines.append(
                f"{config} lists {each.name} in {each.base_path}, but its folder is gone: TensorFlow Serving loads no "
                "new version of any model until the entry is removed or the folder is back"
            )
        present = sorted(folders_by_version(folder))
        lines += [
            f"{config} has the label {label} of {each.name} at version {number}, which "
            f"{'its version policy does not load' if number in present else 'does not exist'}: TensorFlow Serving does "
            "not start with such a label, and accepts no other change of the file"
            for label, number in each.labels.items()
            if present and number not in each.loads(present)
        ]
    return lines
