"""Fine-tuned models for tests: encoders with random heads, and their exports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from exports import exported

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
#: Name of a model -> class, labels, further settings of config.json, and settings of the export.
TINY: dict[str, tuple[str, Sequence[str], dict[str, Any], dict[str, Any]]] = {
    "ner": ("TokenClassification", TAGS, {}, {"signatures": ("tag", "tokenize")}),
    "sentiment": ("SequenceClassification", ("negative", "neutral", "positive"), {},
                  {"signatures": ("classify", "tokenize")}),
    "reranker": ("SequenceClassification", ("LABEL_0",), {"sentence_transformers": {"version": "4.1.0"}},
                 {"signatures": ("score",), "pair": True}),
}  # fmt: skip


def fine_tuned(encoder: Path, target: Path, task: str, labels: Sequence[str], **config: Any) -> Path:
    """A folder in the form of ``save_pretrained``, with a Hugging Face BERT encoder and a random head."""
    from safetensors.numpy import load_file, save_file

    target.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(encoder / name, target)
    state = json.loads((target / "config.json").read_text(encoding="utf-8"))
    names = {str(at): label for at, label in enumerate(labels)}
    state |= {"architectures": [f"BertFor{task}"], "id2label": names, **config}
    (target / "config.json").write_text(json.dumps(state), encoding="utf-8")
    chance = np.random.default_rng(29)
    tensors = load_file(target / "model.safetensors")
    prefix = "" if any(name.startswith("bert.") for name in tensors) else "bert."
    own = {f"{prefix}{name}": value for name, value in tensors.items()}
    if task == "TokenClassification":  # such a model has no pooler
        own = {name: value for name, value in own.items() if "pooler" not in name}
    size = state["hidden_size"]
    own["classifier.weight"] = chance.normal(size=(len(labels), size)).astype(np.float32) * 2 / np.float32(size**0.5)
    own["classifier.bias"] = chance.normal(size=len(labels)).astype(np.float32) * np.float32(0.1)
    save_file(own, target / "model.safetensors")
    return target


def export_all(encoder: Path, scratch: Path) -> Path:
    """Export all of :data:`TINY`: sources are in ``scratch/sources``; returns the exports, in ``scratch/models``."""
    for name, (task, labels, config, settings) in TINY.items():
        source = fine_tuned(encoder, scratch / "sources" / name, task, labels, **config)
        bundle = exported(source, scratch / "made" / name, **settings)
        shutil.move(bundle.base_path, scratch / "models" / name)
    return scratch / "models"
