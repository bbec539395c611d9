"""Folders of fine-tuned tiny models, and PyTorch's outputs for them; see tests/data/make_tiny_heads.py."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from folders import DATA, edit, retensor

GOLDEN = np.load(DATA / "tiny_heads.npz")
TEXTS = GOLDEN["texts"].tolist()
PAIRS = [tuple(pair) for pair in GOLDEN["pairs"].tolist()]
ROWS = [*((text,) for text in TEXTS), *PAIRS]
#: FAMILY.TASK.COUNT
MODELS = sorted(name for name in GOLDEN.files if name.count(".") == 2 and "/" not in name and "ipeline" not in name)
CLASSES = {"bert": "Bert", "distilbert": "DistilBert", "electra": "Electra", "mpnet": "MPNet"}


def tensors_of(model: str) -> dict[str, np.ndarray]:
    """The tensors of a head."""
    return {name.removeprefix(f"{model}/"): GOLDEN[name] for name in GOLDEN.files if name.startswith(f"{model}/")}


def folder_of(model: str, target: Path, **config: Any) -> Path:
    """A folder in the form of ``save_pretrained``: the encoder's tensors with a prefix, and those of the head."""
    family, task, count = model.split(".")
    shutil.copytree(DATA / f"tiny_{family}", target)
    for name in ("modules.json", "sentence_bert_config.json", "1_Pooling"):  # of the sentence-transformers folder
        path = target / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if not (target / "vocab.txt").is_file():
        shutil.copy(DATA / "tiny_bert" / "vocab.txt", target)
    edit(target / "config.json", architectures=[f"{CLASSES[family]}For{task}Classification"],
         id2label={str(at): f"L{at}" for at in range(int(count))}, **config)  # fmt: skip
    if (target / "tokenizer_config.json").is_file():
        edit(target / "tokenizer_config.json", model_max_length=64)
    else:
        (target / "tokenizer_config.json").write_text('{"model_max_length": 64}')

    def with_head(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        own = {name: value for name, value in tensors.items() if name.startswith(f"{family}.")}
        own = own or {f"{family}.{name}": value for name, value in tensors.items()}
        if task == "Token":  # such a model has no pooler
            own = {name: value for name, value in own.items() if "pooler" not in name}
        return {**own, **tensors_of(model)}

    retensor(target, with_head)
    return target


def logits_of(model: str) -> list[np.ndarray]:
    """PyTorch's logits: for each of :data:`ROWS` ``[count]``, or ``[tokens, count]``."""
    value = GOLDEN[model]
    if ".Sequence." in model:
        return list(value)
    return np.split(value, np.cumsum(GOLDEN[f"{model.split('.')[0]}.lengths"])[:-1])


def ids_of(family: str) -> list[list[int]]:
    """The tokens of each of :data:`ROWS` in PyTorch's run."""
    rows = np.split(GOLDEN[f"{family}.ids"], np.cumsum(GOLDEN[f"{family}.lengths"])[:-1])
    return [row.tolist() for row in rows]


def probabilities(logits: np.ndarray, activation: str) -> np.ndarray:
    """Scores from logits, float64."""
    logits = logits.astype(np.float64)
    if activation == "softmax":
        e = np.exp(logits - logits.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)
    return 1 / (1 + np.exp(-logits)) if activation == "sigmoid" else logits
