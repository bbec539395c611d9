"""``assets.extra/rawbert.json``: the source of a version, the tools of its export, and its proof."""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ...serving.contract import DEFAULT_SIGNATURE, MANIFEST_FILE, TensorSpec
from ..errors import CorruptSource, ExportError
from ..recipe import Recipe
from ..sources import Location, license
from ..sources.checkpoint import Checkpoint

FILE = Path(MANIFEST_FILE)
#: Maximum size in bytes: a thousand times that of an export's manifest.
_MOST = 50_000_000

#: Format version of the file.
FORMAT = 2

_TOOLS = ("rawbert", "tensorflow", "tensorflow-text", "tensorflow-hub", "tf-keras", "transformers", "tokenizers")


def make(
    name: str,
    recipe: Recipe,
    location: Location,
    checkpoint: Checkpoint,
    signatures: Mapping[str, Sequence[TensorSpec]],
    verification: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest of a verified export, as JSON values.

    Args:
        name: name of the model.
        recipe: recipe of the export.
        location: source of the checkpoint.
        checkpoint: the checkpoint.
        signatures: outputs by signature.
        verification: report of the proof.
    """
    tokenizer, head = checkpoint.tokenizer, checkpoint.head
    return {
        "format": FORMAT,
        "name": name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "recipe": recipe.to_json(),
        "source": {
            "kind": checkpoint.kind,
            "origin": location.origin,
            "handle": location.handle,
            "revision": location.revision,
            # The unpacked folder of an archive is temporary.
            "location": None if location.origin == "archive" else str(location.folder),
            "archive_sha256": location.sha256,
            "license": license.stated(location.folder),
            "files": [asdict(file) for file in checkpoint.files],
        },
        "tools": {name: _version(name) for name in _TOOLS},
        "encoder": {
            "hidden_size": checkpoint.hidden_size,
            "configuration": asdict(checkpoint.encoder) if checkpoint.encoder and recipe.encoder == "native" else None,
        },
        "head": None
        if head is None
        else {"signature": head.signature, "labels": list(head.labels), "activation": head.activation},
        "run": checkpoint.run,
        "tokenizer": {
            "kind": tokenizer.kind,
            **_plain(tokenizer),
            "vocab": f"assets/vocab.txt, {tokenizer.size} tokens",
        },
        "signatures": {
            signature: {tensor.name: {"dtype": tensor.dtype, "shape": list(tensor.shape)} for tensor in outputs}
            for signature, outputs in signatures.items()
        },
        DEFAULT_SIGNATURE: recipe.default,
        "verification": {
            "reference": "the Hub layer itself" if checkpoint.kind == "hub" else "numpy float64 forward pass",
            **verification,
        },
        "notes": list(checkpoint.notes),
    }


def _plain(value: Any) -> Any:
    """A JSON value, without large fields, which are excluded from the dataclass's repr."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.repr}
    return value


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest into a version folder that has warmup records."""
    (folder / FILE).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a version folder; ``None`` if there is no readable one."""
    path = folder / FILE
    try:
        if not path.is_file() or path.stat().st_size > _MOST:
            return None
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # the last one for deeply nested brackets
        return None
    return manifest if isinstance(manifest, dict) else None


def recipe_of(folder: Path) -> Recipe:
    """The recipe of a version folder.

    Raises:
        CorruptSource: there is no manifest, or one of another format.
    """
    path, made = folder / FILE, read(folder)
    if made is None:
        raise CorruptSource(f"{path} cannot be read: give a folder written by rawbert export")
    if made.get("format") != FORMAT:
        raise CorruptSource(
            f"{path} has format {made.get('format')}, and this release of rawbert reads format {FORMAT}: export the "
            "model again, or verify it with the release that made it"
        )
    try:
        return Recipe.from_json(made["recipe"])
    except (AttributeError, ExportError, KeyError, TypeError) as error:
        raise CorruptSource(f"{path} has no recipe of an export; export the model again: {error}") from error


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
