"""Random heads on real encoders: PyTorch's logits for texts and pairs, with every batch size."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import DATA, edit, retensor
from proofs import built

spec = importlib.util.spec_from_file_location("make_real_heads", DATA / "make_real_heads.py")
make = sys.modules["make_real_heads"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)
ROWS = make.rows(DATA)
CLASSES = {"minilm": ("bert", "Bert"), "mpnet": ("mpnet", "MPNet")}


def folder_of(encoder: Path, name: str, model: str, target: Path) -> Path:
    """A fine-tuned model's folder: the encoder's files, with a random head."""
    task, count = model.split(".")
    family, prefix = CLASSES[name]
    target.mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copyfile(encoder / file, target / file)
    labels = {str(at): f"L{at}" for at in range(int(count))}
    edit(target / "config.json", architectures=[f"{prefix}For{task}Classification"], id2label=labels)
    hidden = 384 if name == "minilm" else 768

    def with_head(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        own = {f"{family}.{key}": value for key, value in tensors.items() if value.dtype.kind == "f"}
        return {**own, **make.head(family, task, int(count), hidden)}

    retensor(target, with_head)
    return target


def held(encoder: Path, name: str, model: str, folder: Path, pair: bool, sizes: Any) -> None:
    """Compare the logits of a SavedModel with PyTorch's, with several batch sizes."""
    from rawbert.exporter.proof.model import SavedModel

    source = folder_of(encoder, name, model, folder / "source")
    task, count = model.split(".")
    signature = "tag" if task == "Token" else "score" if count == "1" else "classify"
    built(source, folder / "1", max_seq_length=make.LENGTH, signatures=(signature,), pair=pair, logits=True)
    golden = np.load(DATA / f"{name}_heads.npz")[model]
    rows = [row for row in range(len(ROWS)) if (len(ROWS[row]) == 2) is pair]
    model_of = SavedModel(folder / "1")
    ends = None
    worst = 0.0
    for size in sizes:
        chosen = [rows[at % len(rows)] for at in range(size)]
        fed = {
            key: [ROWS[row][at].encode() for row in chosen] for at, key in enumerate(("text", "text_pair")[: 1 + pair])
        }
        got = model_of.answer(signature, fed)
        if task == "Sequence":
            name_of = "score" if count == "1" else "scores"
            wanted = golden[chosen]
            worst = max(worst, np.abs(got[name_of].reshape(wanted.shape) - wanted).max())
            continue
        if ends is None:  # tokens of all rows, in order: those of the others are not known here
            ends = np.cumsum([0, *lengths(source)])
        for at, row in enumerate(chosen):
            wanted = golden[ends[row] : ends[row + 1]]
            worst = max(worst, np.abs(got["tag_scores"][at, : len(wanted)] - wanted).max())
    model_of.close()
    print(f"{name} {model}, {'pairs' if pair else 'texts'}: largest difference {worst:.1e}")
    assert worst <= 1e-4


def lengths(folder: Path) -> list[int]:
    """Tokens of every row by transformers' tokenizer."""
    from rawbert.exporter.proof.reference import FolderReference

    tokenize = FolderReference(folder, make.LENGTH).tokenize
    return [len(tokenize(*row).ids) for row in ROWS]


def test_77_labels_on_minilm(minilm_folder: Path, tmp_path: Path):
    held(minilm_folder, "minilm", "Sequence.77", tmp_path, False, (1, 2, 3, 8, 33, 64))


@pytest.mark.slow
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("model", make.HEADS)
def test_heads_on_minilm_at_every_batch_size(minilm_folder: Path, tmp_path: Path, model: str, pair: bool):
    held(minilm_folder, "minilm", model, tmp_path, pair, range(1, 65))


@pytest.mark.slow
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("model", make.HEADS)
def test_heads_on_mpnet_at_every_batch_size(mpnet_folder: Path, tmp_path: Path, model: str, pair: bool):
    held(mpnet_folder, "mpnet", model, tmp_path, pair, range(1, 65))
