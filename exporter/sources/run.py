"""run.json: the record of ``rawbert finetune`` in the folder of its model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import CorruptSource
from .checkpoint import SourceFile
from .jsonfile import read_object

FILE, WEIGHTS = "run.json", "model.safetensors"
#: The weights of a run over a Hub encoder that was not rebuilt.
VARIABLES = "variables/variables.data-00000-of-00001"
#: Format version of the file.
FORMAT = 1


def read(folder: Path, files: Iterable[SourceFile], weights: str = WEIGHTS) -> tuple[dict[str, Any] | None, list[str]]:
    """The part of a run for the manifest, and notes; ``None`` if the folder is not the result of a run.

    Args:
        folder: folder of the model.
        files: files that the model was read from.
        weights: name of the weight file.

    Raises:
        CorruptSource: run.json is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None, []
    run = read_object(path)
    if run.get("format") != FORMAT or "model_sha256" not in run:
        return None, [f"{FILE} has an unknown format and is ignored"]
    if run["model_sha256"] not in [file.sha256 for file in files if file.path == weights]:
        return None, [f"{FILE} belongs to other weights than {weights} and is ignored"]
    try:
        made = {key: run[key] for key in ("settings", "data", "best_epoch", "metrics", "tools")}
        made["epochs"] = len(run["history"])
        if not all(isinstance(made[key], dict) for key in ("settings", "data", "metrics")):
            raise TypeError("a value has a wrong type")
    except (KeyError, TypeError) as error:
        raise CorruptSource(f"{path}: not a run.json of rawbert finetune ({error})") from error
    notes = []
    if run.get("status") != "finished":
        notes.append(f"the run is not finished: this is the best of its first {made['epochs']} epochs")
    return made, notes


def labels(folder: Path) -> tuple[str, ...]:
    """The labels of a run, for a model without names of labels.

    Raises:
        CorruptSource: run.json is damaged.
    """
    found = (read_object(folder / FILE).get("problem") or {}).get("labels")
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise CorruptSource(f"{folder / FILE}: not a run.json of rawbert finetune (problem has no labels)")
    return tuple(found)
