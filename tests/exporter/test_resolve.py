"""From the user's configuration to the recipe of an export, with its notes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folders
import pytest
from proofs import resolved
from rawbert.exporter.recipe import Recipe


@pytest.mark.parametrize("settings", [{}, {"pair": True, "precision": "bfloat16", "pooling": "cls", "normalize": True}])
def test_a_recipe_is_the_same_after_json(data: Path, settings: dict[str, Any]):
    recipe, _ = resolved(data / "tiny_bert", **settings)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert hash(recipe) == hash(Recipe.from_json(recipe.to_json()))


def test_nothing_is_left_to_decide(data: Path):
    recipe, checkpoint = resolved(data / "tiny_bert")
    assert recipe.signatures == ("pooled", "sequence", "tokenize")
    assert (recipe.default, recipe.max_seq_length, recipe.chosen) == ("pooled", 64, ())
    assert recipe.tokenization.truncation_side == "right"
    assert (recipe.tolerance, recipe.min_cosine) == (1e-5, 0.99999)
    assert checkpoint.pooling is None
    chosen, _ = resolved(data / "tiny_bert", pooling="mean", max_seq_length=9, truncation_side="left")
    assert chosen.chosen == ("max_seq_length", "truncation_side", "pooling")
    assert (chosen.pooling, chosen.steps, chosen.default) == (("mean",), (), "embed")
    shorter, _ = resolved(data / "tiny_bert", pooling="mean", normalize=True)
    assert (shorter.chosen, shorter.steps) == (("pooling", "normalize"), ("normalize",))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pooling": "cls"}, "the checkpoint's own recipe is mean, then dense tanh to 16, then normalize"),
        ({"max_seq_length": 64}, "texts may have up to 64 tokens, as requested; the checkpoint's own limit"),
        ({"truncation_side": "left"}, "long texts are cut on the left; the checkpoint cuts on the right"),
        ({"tokenizer": "tf-text"}, "tokens are those of tensorflow-text"),
        ({"tolerance": 1e-3}, "verified within 0.001 and a cosine of 0.99999, as requested"),
        ({"min_cosine": 0.9}, "a cosine of 0.9, as requested; the defaults are 1e-05 and 0.99999"),
    ],
)  # fmt: skip
def test_a_surprise_is_said(tmp_path: Path, settings: dict[str, Any], said: str):
    source = folders.tiny(tmp_path / "source", "mean_dense_normalize")
    (source / "sentence_bert_config.json").write_text('{"max_seq_length": 32}', encoding="utf-8")
    assert not any(said in note for note in resolved(source)[1].notes)
    _, checkpoint = resolved(source, **settings)
    assert any(said in note for note in checkpoint.notes), checkpoint.notes
