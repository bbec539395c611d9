"""The reference itself is compared with PyTorch and sentence-transformers; see tests/data/README.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from folders import tensors_of, tiny
from rawbert.exporter.proof.families import bert
from rawbert.exporter.proof.heads.embedding import embed
from rawbert.exporter.proof.reference import FolderReference

#: Variant of tiny_bert_golden.npz -> settings of config.json.
VARIANTS = {
    "gelu": {},
    "gelu_new": {"hidden_act": "gelu_new"},
    "relu": {"hidden_act": "relu"},
    "gelu_eps1e-5": {"layer_norm_eps": 1e-5},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_forward_pass_is_pytorchs_in_float64(data: Path, variant: str):
    golden = np.load(data / "tiny_bert_golden.npz")
    config = json.loads((data / "tiny_bert" / "config.json").read_text()) | VARIANTS[variant]
    tensors = tensors_of(data / "tiny_bert")
    for row, mask in enumerate(golden["attention_mask"]):
        count = mask.sum()
        got = bert.forward(tensors, config, golden["input_ids"][row, :count], golden["token_type_ids"][row, :count])
        wanted = golden[f"{variant}.last_hidden_state"][row, :count]
        np.testing.assert_allclose(got["sequence_output"], wanted, rtol=0, atol=1e-9)
        np.testing.assert_allclose(got["pooled_output"], golden[f"{variant}.pooler_output"][row], rtol=0, atol=1e-9)


def test_old_names_and_no_pooler_are_understood(data: Path):
    config = json.loads((data / "tiny_bert" / "config.json").read_text())
    tensors = tensors_of(data / "tiny_bert")
    wanted = bert.forward(tensors, config, np.array([2, 76, 77, 3]))
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors.items()
        if not name.startswith("pooler")
    }
    got = bert.forward(renamed, config, np.array([2, 76, 77, 3]))
    assert set(got) == {"sequence_output"}
    np.testing.assert_array_equal(got["sequence_output"], wanted["sequence_output"])


def heads() -> list[str]:
    return sorted(path.name for path in (Path(__file__).parents[2] / "data" / "tiny_pooling").iterdir())


@pytest.mark.parametrize("head", heads())
def test_tokens_and_embeddings_are_those_of_sentence_transformers(data: Path, tmp_path: Path, head: str):
    reference = FolderReference(tiny(tmp_path / "model", head), 64)
    cases = json.loads((data / "tiny_pooling_golden.json").read_text(encoding="utf-8"))["cases"]
    golden = np.load(data / "tiny_pooling_golden.npz")[head]
    for case, wanted in zip(cases, golden, strict=True):
        tokens = reference.tokenize(case["text"])
        assert tokens.ids == case["input_ids"]
        # The golden is float32.
        allowed = 2e-6 * max(1.0, np.abs(wanted).max())
        np.testing.assert_allclose(reference(tokens.ids)["embedding"], wanted, rtol=0, atol=allowed)


def test_every_pooling_mode_by_hand():
    tokens = np.array([[1.0, -4.0], [2.0, 0.0], [6.0, 1.0]])
    by_mode = {
        "cls": [1, -4],
        "lasttoken": [6, 1],
        "max": [6, 1],
        "mean": [3, -1],
        "mean_sqrt_len_tokens": [9 / 3**0.5, -3 / 3**0.5],
        "weightedmean": [(1 + 4 + 18) / 6, (-4 + 0 + 3) / 6],
    }
    for mode, wanted in by_mode.items():
        np.testing.assert_allclose(embed(tokens, [(mode,)]), wanted)
    np.testing.assert_allclose(embed(tokens, [("cls", "mean")]), [1, -4, 3, -1])
    np.testing.assert_allclose(np.linalg.norm(embed(tokens, [("mean",), "normalize"])), 1)
    np.testing.assert_array_equal(embed(np.zeros((3, 2)), [("mean",), "normalize"]), [0, 0])


def test_offsets_are_bytes_and_the_count_is_of_the_uncut_text(data: Path):
    reference = FolderReference(data / "tiny_bert", 5)
    tokens = reference.tokenize("é中 cat dog")
    assert tokens.ids == [2, 9, 95, 77, 3]
    assert tokens.starts == [-1, 0, 2, 6, -1]
    assert tokens.limits == [-1, 2, 5, 9, -1]
    assert tokens.count == 6


def test_minilm_embeddings_are_those_of_sentence_transformers(data: Path, minilm_folder: Path):
    cases = json.loads((data / "minilm_golden.json").read_text(encoding="utf-8"))["cases"]
    golden = np.load(data / "minilm_golden.npz")["embeddings"]
    reference = FolderReference(minilm_folder, 256)
    for case, wanted in zip(cases, golden, strict=True):
        tokens = reference.tokenize(case["text"])
        assert tokens.ids == case["input_ids"], case["name"]
        np.testing.assert_allclose(reference(tokens.ids)["embedding"], wanted, rtol=0, atol=2e-6, err_msg=case["name"])
