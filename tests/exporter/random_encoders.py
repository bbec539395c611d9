"""Random models of a family, and PyTorch's outputs for them; see tests/data/make_random_models.py."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from folders import DATA, edit

spec = importlib.util.spec_from_file_location("random_models", DATA / "random_models.py")
made = sys.modules["random_models"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)
FAMILIES = ("modernbert", "deberta-v2", "nomic_bert")


class RandomModel:
    """One of a family's models: ``FAMILY.NAME``.

    Attributes:
        config: config.json.
        tensors: by PyTorch's name.
        texts: token ids of each text.
        types: token types of each text.
    """

    def __init__(self, model: str) -> None:
        self.family, self.name = model.split(".")
        self._golden = np.load(DATA / f"random_{self.family}.npz")
        state = json.loads(str(self._golden["models"]))[self.name]
        self.config: dict[str, Any] = state["config"]
        self.tensors = made.tensors(state["shapes"], state["seed"])
        positions = self.config["max_position_embeddings"]
        self.texts = made.texts(self.config["vocab_size"], positions, state["seed"])
        self.types = [made.types(ids, self.config.get("type_vocab_size", 0)) for ids in self.texts]

    def _parts(self, output: str) -> list[np.ndarray]:
        return np.split(self._golden[f"{self.name}.{output}"], np.cumsum([len(ids) for ids in self.texts])[:-1])

    @cached_property
    def sequence(self) -> list[np.ndarray]:
        """PyTorch's vectors for each text, ``[tokens, hidden]``."""
        return self._parts("sequence")

    @cached_property
    def tag(self) -> list[np.ndarray]:
        """PyTorch's logits for each token, ``[tokens, labels]``."""
        return self._parts("tag")

    @cached_property
    def classify(self) -> np.ndarray:
        """PyTorch's logits for each text, ``[texts, labels]``."""
        return self._golden[f"{self.name}.classify"]

    def folder(self, target: Path, task: str | None = None, **config: Any) -> Path:
        """A folder like a user's, with tiny_bert's tokenizer; ``task`` is the end of the class's name."""
        from safetensors.numpy import save_file

        shutil.copytree(DATA / "tiny_bert", target)
        (target / "model.safetensors").unlink()
        save_file(self.tensors, target / "model.safetensors")
        state = {**self.config, **({"architectures": [f"XFor{task}"]} if task else {}), **config}
        (target / "config.json").write_text(json.dumps(state), encoding="utf-8")
        edit(target / "tokenizer_config.json", model_max_length=self.config["max_position_embeddings"])
        return target


def models(family: str) -> list[str]:
    names = json.loads(str(np.load(DATA / f"random_{family}.npz")["models"]))
    return [f"{family}.{name}" for name in names]


MODELS = [model for family in FAMILIES for model in models(family)]


def padded(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of texts, int32 ``[texts, tokens]``."""
    ids = np.zeros((len(rows), max(map(len, rows))), np.int32)
    mask = np.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = row, 1
    return ids, mask
