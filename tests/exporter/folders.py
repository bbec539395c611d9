"""Checkpoint folders for the exporter's tests: copies of the tiny ones with changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parents[1] / "data"


def tiny(target: Path, head: str | None = None, **config: Any) -> Path:
    """Copy tiny_bert, add the files of a sentence-transformers head, and change values of config.json."""
    shutil.copytree(DATA / "tiny_bert", target)
    if head is not None:
        shutil.copytree(DATA / "tiny_pooling" / head, target, dirs_exist_ok=True)
    if config:
        edit(target / "config.json", **config)
    return target


def edit(path: Path, **changes: Any) -> None:
    """Set keys of a JSON object in a file; ``...`` removes one."""
    state = json.loads(path.read_text(encoding="utf-8"))
    state.update(changes)
    path.write_text(json.dumps({key: value for key, value in state.items() if value is not ...}), encoding="utf-8")


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def retensor(folder: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """Rewrite model.safetensors with the result of ``change``, or with its changed argument."""
    from safetensors.numpy import save_file

    tensors = tensors_of(folder)
    tensors = change(tensors) or tensors
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / "model.safetensors")


def use_vocabulary(folder: Path, tokens: Iterable[str]) -> None:
    """Replace the tokenizer's files by a vocab.txt with these tokens."""
    (folder / "tokenizer.json").unlink(missing_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")


def vocabulary(folder: Path) -> list[str]:
    return (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()


def shard(folder: Path) -> None:
    """Split model.safetensors into two shards, with transformers' index."""
    from safetensors.numpy import save_file

    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, chosen in parts.items():
        save_file({name: tensors[name] for name in chosen}, folder / file)
    weight_map = {name: file for file, chosen in parts.items() for name in chosen}
    index = {"metadata": {"total_size": sum(value.nbytes for value in tensors.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
