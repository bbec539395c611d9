"""RoBERTa, XLM-RoBERTa, CamemBERT and ALBERT, compared with PyTorch: encoders and heads of several shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rawbert.exporter import sources
from tiny_families import ENCODERS, GOLDEN, HEADS, batch_of, config_of, folder_of, make, rows_of, tensors_of

#: The most different models; the tests of the others are slow, because there are many.
QUICK = ("roberta", "roberta.padding", "xlm-roberta.one", "albert.groups", "albert.uneven")
QUICK_HEADS = ("roberta.Sequence.1", "camembert.Token.5", "albert.Sequence.3")


def some(names: list[str], quick: tuple[str, ...]) -> list[Any]:
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def unprefixed(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix("roberta.").removeprefix("albert."): value for name, value in tensors.items()}


@pytest.mark.parametrize("name", some(ENCODERS, QUICK))
def test_the_encoder_gives_pytorchs_vectors_alone_and_in_batches(tmp_path: Path, name: str):
    import tensorflow as tf
    from rawbert.exporter.graph.encoder import NativeEncoder

    checkpoint = sources.load(folder_of(name, tmp_path / "model"))
    assert checkpoint.max_seq_length == make.LONGEST
    assert checkpoint.has_pooler == (f"{name}.pooled" in GOLDEN.files)
    # Run as a graph, because TensorFlow's optimizers change the operations of a served graph.
    table = tf.TensorSpec([None, None], tf.int32)
    encoder = NativeEncoder(checkpoint.encoder, checkpoint.weights)
    encode = tf.function(encoder.__call__, autograph=False, input_signature=[table] * 3)
    wanted, pooled = rows_of(GOLDEN[f"{name}.sequence"]), GOLDEN.get(f"{name}.pooled")
    for size in (1, 2, 7, 32):
        for first in range(len(wanted) if size == 1 else 1):
            rows = [(first + at) % len(wanted) for at in range(size)]
            sequence, vectors = encode(*map(tf.constant, batch_of(name, rows)))
            for at, row in enumerate(rows):
                got = sequence[at, : len(wanted[row])]
                np.testing.assert_allclose(got, wanted[row], rtol=0, atol=1e-5)
                if pooled is not None:
                    np.testing.assert_allclose(vectors[at], pooled[row], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_reference_gives_pytorchs_vectors(name: str):
    from rawbert.exporter.proof.families import twin_of

    config, tensors = config_of(name), unprefixed(tensors_of(name))
    wanted, pooled = rows_of(GOLDEN[f"{name}.sequence"]), GOLDEN.get(f"{name}.pooled")
    assert config["max_position_embeddings"] - twin_of(config).first_row(config) == make.LONGEST
    for row, (ids, types) in enumerate(zip(make.ids_of(config), make.types_of(config), strict=True)):
        got = twin_of(config).forward(tensors, config, ids, types)
        np.testing.assert_allclose(got["sequence_output"], wanted[row], rtol=0, atol=5e-7)
        if pooled is not None:
            np.testing.assert_allclose(got["pooled_output"], pooled[row], rtol=0, atol=5e-7)


@pytest.mark.parametrize("name", some(HEADS, QUICK_HEADS))
def test_heads_give_pytorchs_logits(tmp_path: Path, name: str):
    from rawbert.exporter.graph.encoder import NativeEncoder
    from rawbert.exporter.graph.heads.logits import Scores
    from rawbert.exporter.proof import heads
    from rawbert.exporter.proof.families import twin_of
    from rawbert.exporter.tokenizers.templates import Encoding

    checkpoint = sources.load(folder_of(name, tmp_path / "model"))
    head = checkpoint.head
    assert (head.signature, len(head.labels)) == {
        "Sequence.1": ("score", 1), "Sequence.3": ("classify", 3), "Token.5": ("tag", 5)
    }[name.partition(".")[2]]  # fmt: skip
    wanted = list(GOLDEN[f"{name}.logits"]) if head.signature != "tag" else rows_of(GOLDEN[f"{name}.logits"])
    ids, mask, types = batch_of(name, list(range(len(wanted))))
    tokens = Encoding(ids, mask, ids, ids, ids[:, 0])
    encoder = NativeEncoder(checkpoint.encoder, checkpoint.weights)
    scores = Scores(replace(head, activation="identity"))
    got = scores(tokens, lambda tokens: encoder(ids, mask, types)).numpy()
    config, tensors = config_of(name), unprefixed(tensors_of(name))
    for row, logits in enumerate(wanted):
        length = make.ROWS[row]
        np.testing.assert_allclose(got[row] if logits.ndim == 1 else got[row, :length], logits, rtol=0, atol=1e-5)
        outputs = twin_of(config).forward(tensors, config, ids[row, :length], types[row, :length])
        reference = heads.HEADS[{"tag": "tag_scores", "score": "score"}.get(head.signature, "scores")]
        found = reference(outputs, (config, tensors))
        np.testing.assert_allclose(found.reshape(logits.shape), logits, rtol=0, atol=5e-7)
