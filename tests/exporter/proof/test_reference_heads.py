"""The reference's heads are compared with PyTorch, and its reading of labels with the libraries' own pipelines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fine_tuned import GOLDEN, MODELS, PAIRS, ROWS, TEXTS, folder_of, ids_of, logits_of, probabilities
from rawbert.exporter.proof.labels import Labels
from rawbert.exporter.proof.reference import FolderReference

OUTPUTS = {"Token": "tag_scores", "Sequence": "scores"}


@pytest.mark.parametrize("model", MODELS)
def test_logits_are_those_of_pytorch(tmp_path: Path, model: str):
    family, task, count = model.split(".")
    reference = FolderReference(folder_of(model, tmp_path / "model"), 64)
    output = "score" if (task, count) == ("Sequence", "1") else OUTPUTS[task]
    assert reference.labels == Labels(output, tuple(f"L{at}" for at in range(int(count))), reference.labels.activation)
    for row, ids, wanted in zip(ROWS, ids_of(family), logits_of(model), strict=True):
        tokens = reference.tokenize(*row)
        assert tokens.ids == ids
        got = reference(tokens.ids, tokens.types)[output]
        np.testing.assert_allclose(got.reshape(wanted.shape), wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "name", [name for name in GOLDEN.files if name.startswith(("pipeline.1", "pipeline.2", "pipeline.7"))]
)
def test_scores_are_those_of_transformers_pipeline(tmp_path: Path, name: str):
    _, count, problem = name.split(".")
    stated = None if problem == "None" else problem
    folder = folder_of(f"bert.Sequence.{count}", tmp_path / "model", problem_type=stated)
    activation = FolderReference(folder, 64).labels.activation
    logits = np.stack(logits_of(f"bert.Sequence.{count}")[: len(TEXTS)])
    np.testing.assert_allclose(
        probabilities(logits, activation), GOLDEN[name], rtol=0, atol=1e-5
    )  # the library computes in float32


@pytest.mark.parametrize("name", [name for name in GOLDEN.files if name.startswith("predict")])
def test_scores_are_those_of_cross_encoders(tmp_path: Path, name: str):
    _, count, release, last = name.split(".", 3)
    path = None if last == "None" else f"torch.nn.modules.{last}"
    added = {"version": "4.1.0"} | ({"activation_fn": path} if path else {})
    says = {"sentence_transformers": added} if release == "4" else {"sbert_ce_default_activation_function": path}
    folder = folder_of(f"bert.Sequence.{count}", tmp_path / "model", **says)
    activation = FolderReference(folder, 64).labels.activation
    logits = np.stack(logits_of(f"bert.Sequence.{count}")[-len(PAIRS) :])
    got = probabilities(logits, activation).reshape(GOLDEN[name].shape)
    np.testing.assert_allclose(got, GOLDEN[name], rtol=0, atol=1e-5)  # the library computes in float32
