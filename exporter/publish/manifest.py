"""``assets.extra/rawbert.json``: what a version was made from, with what, and how it was found to be right."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..proof.verify import Report
from ..recipe import ExportConfig
from ..sources import Location, license
from ..sources.checkpoint import Checkpoint, PoolingRecipe
from ..tokenizers.spec import TokenizerSpec
from .batching_params import Batching
from .bundle import Tensor

__all__ = ["FILE", "make", "read", "write"]

FILE = Path("assets.extra", "rawbert.json")

_TOOLS = (
    "rawbert",
    "tensorflow",
    "tensorflow-text",
    "tensorflow-hub",
    "tf-keras",
    "transformers",
    "tokenizers",
)


def make(
    config: ExportConfig,
    location: Location,
    checkpoint: Checkpoint,
    impl: str,
    length: int,
    pooling: PoolingRecipe | None,
    described: dict[str, tuple[Tensor, ...]],
    default: str,
    report: Report,
    batching: Batching,
    warmup_records: int,
) -> dict[str, Any]:
    """The manifest of an export, as JSON knows it."""
    recipe = None
    if pooling is not None:
        steps = [
            step if isinstance(step, str) else f"dense {step.activation} to {step.kernel.shape[1]}"
            for step in pooling.steps
        ]
        recipe = {"modes": list(pooling.modes), "steps": steps}
    return {
        "format": 1,
        "name": config.model_name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "source": {
            "kind": checkpoint.kind,
            "origin": location.origin,
            "handle": location.handle,
            "revision": location.revision,
            # What was unpacked is gone by now.
            "location": None if location.origin == "archive" else str(location.folder),
            "archive_sha256": location.sha256,
            "license": license.stated(location.folder),
            "files": [asdict(file) for file in checkpoint.files],
        },
        "tools": {name: _version(name) for name in _TOOLS},
        "encoder": {
            "impl": impl,
            "hidden_size": checkpoint.hidden_size,
            "configuration": asdict(checkpoint.encoder) if checkpoint.encoder and impl == "native" else None,
        },
        "precision": config.precision,
        "target_serving": config.target_serving,
        "max_seq_length": length,
        "batching": asdict(batching),
        "warmup_records": warmup_records,
        "tokenizer": _tokenizer(checkpoint.tokenizer),
        "tokenization": asdict(config.tokenization),
        "pooling": recipe,
        "pooling_overridden": config.pooling is not None or config.normalize is not None,
        "signatures": {
            name: {tensor.name: {"dtype": tensor.dtype, "shape": list(tensor.shape)} for tensor in outputs}
            for name, outputs in described.items()
        },
        "serving_default": default,
        "verification": {
            "reference": "the Hub layer itself" if checkpoint.kind == "hub" else "numpy float64 forward pass",
            **{key: value for key, value in asdict(report).items() if key != "mismatches"},
        },
        "notes": list(checkpoint.notes),
    }


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest into a version folder.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / FILE
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a version folder; ``None`` where there is none that can be read."""
    try:
        manifest = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _tokenizer(spec: TokenizerSpec) -> dict[str, Any]:
    state = {"kind": spec.kind, **asdict(spec)}
    state["vocab"] = f"assets/vocab.txt, {spec.size} tokens"
    return state


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
