"""Pooling heads, compared with sentence-transformers' embeddings of the tiny models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from folders import DATA, tiny

HEADS = sorted(path.name for path in (DATA / "tiny_pooling").iterdir())


@pytest.fixture(scope="module")
def encoded(data: Path, checkpoint):
    """The golden's texts through the native encoder, in one padded batch."""
    from rawbert.exporter.graph.encoder import NativeEncoder

    cases = json.loads((data / "tiny_pooling_golden.json").read_text(encoding="utf-8"))["cases"]
    ids = np.zeros((len(cases), 64), np.int32)
    mask = np.zeros_like(ids)
    for row, case in enumerate(cases):
        count = len(case["input_ids"])
        ids[row, :count], mask[row, :count] = case["input_ids"], 1
    sequence, _ = NativeEncoder(checkpoint.encoder, checkpoint.weights)(ids, mask)
    return sequence, mask


@pytest.mark.parametrize("head", HEADS)
def test_a_folders_recipe_gives_sentence_transformers_embeddings(data: Path, tmp_path: Path, encoded, head: str):
    from rawbert.exporter import sources
    from rawbert.exporter.graph.heads.embedding import EmbeddingHead

    recipe = sources.load(tiny(tmp_path / "model", head)).pooling
    golden = np.load(data / "tiny_pooling_golden.npz")[head]
    got = EmbeddingHead(recipe).embed(*encoded)
    assert got.shape == golden.shape
    np.testing.assert_allclose(got, golden, rtol=0, atol=1e-5 * max(1.0, np.abs(golden).max()))


@pytest.mark.parametrize("mode", ["cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "weightedmean"])
def test_padding_takes_no_part_in_any_mode(mode: str):
    import tensorflow as tf
    from rawbert.exporter.graph.heads.embedding import EmbeddingHead
    from rawbert.exporter.sources.checkpoint import PoolingRecipe

    tokens = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32) - 10  # below 0, as max would show
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], np.int32)
    head = EmbeddingHead(PoolingRecipe((mode,))).embed
    got = head(tf.constant(tokens), tf.constant(mask)).numpy()
    for row, count in enumerate(mask.sum(1)):
        alone = head(tf.constant(tokens[row : row + 1, :count]), tf.ones((1, count), tf.int32)).numpy()
        np.testing.assert_allclose(got[row], alone[0], rtol=1e-6)


def test_a_zero_vector_stays_zero_when_normalized():
    import tensorflow as tf
    from rawbert.exporter.graph.heads.embedding import EmbeddingHead
    from rawbert.exporter.sources.checkpoint import PoolingRecipe

    head = EmbeddingHead(PoolingRecipe(("mean",), ("normalize",))).embed
    np.testing.assert_array_equal(head(tf.zeros((1, 2, 3)), tf.ones((1, 2), tf.int32)), np.zeros((1, 3)))


def test_no_texts_give_no_embeddings():
    import tensorflow as tf
    from rawbert.exporter.graph.heads.embedding import EmbeddingHead
    from rawbert.exporter.sources.checkpoint import PoolingRecipe

    modes = ("cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "weightedmean")
    got = EmbeddingHead(PoolingRecipe(modes, ("normalize",))).embed(tf.zeros((0, 2, 3)), tf.zeros((0, 2), tf.int32))
    assert got.shape == (0, 18)
