"""The native encoder, compared with PyTorch's outputs for tiny_bert."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

VARIANTS = {
    "gelu": {"activation": "gelu"},
    "gelu_new": {"activation": "gelu_tanh"},
    "relu": {"activation": "relu"},
    "gelu_eps1e-5": {"activation": "gelu", "layer_norm_eps": 1e-5},
}


def encoder_of(checkpoint, **changes):
    from rawbert.exporter.graph.encoder import NativeEncoder

    return NativeEncoder(dataclasses.replace(checkpoint.encoder, **changes), checkpoint.weights)


@pytest.fixture(scope="module")
def golden(data: Path):
    return np.load(data / "tiny_bert_golden.npz")


def first_segment_rows(golden) -> np.ndarray:
    """Rows of one segment: all types of a single text are 0."""
    return np.flatnonzero(golden["token_type_ids"].max(axis=1) == 0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_padded_batch_gives_pytorchs_vectors(checkpoint, golden, variant: str):
    import tensorflow as tf

    rows = first_segment_rows(golden)
    mask = golden["attention_mask"][rows]
    assert mask.min() == 0  # some are padded
    # Run as a graph, because TensorFlow's optimizers change operations, such as normalisation, of a served graph.
    encode = tf.function(encoder_of(checkpoint, **VARIANTS[variant]).__call__, autograph=False)
    sequence, pooled = encode(tf.constant(golden["input_ids"][rows]), tf.constant(mask))
    wanted = golden[f"{variant}.last_hidden_state"][rows]
    np.testing.assert_allclose(sequence.numpy()[mask == 1], wanted[mask == 1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(pooled.numpy(), golden[f"{variant}.pooler_output"][rows], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("precision", "rounding"), [("bfloat16", 2.0**-8), ("float16", 2.0**-11)])
def test_a_lower_precision_rounds_and_does_no_more(checkpoint, golden, precision: str, rounding: float):
    from rawbert.exporter.graph.encoder import NativeEncoder

    rows = first_segment_rows(golden)
    ids, mask = golden["input_ids"][rows], golden["attention_mask"][rows]
    encoder = NativeEncoder(checkpoint.encoder, checkpoint.weights, precision=precision)
    assert {variable.dtype.name for variable in encoder.variables} == {"float32", precision}
    sequence, pooled = encoder(ids, mask)
    assert (sequence.dtype.name, pooled.dtype.name) == ("float32", "float32")
    wanted = golden["gelu.last_hidden_state"][rows]
    off = np.abs(sequence.numpy()[mask == 1] - wanted[mask == 1]).max() / np.abs(wanted).max()
    assert rounding / 16 < off < 8 * rounding  # of the order of one rounding: it is that precision, and not a lower one


def test_the_variants_differ_by_more_than_the_tolerance(golden):
    """Otherwise the test above could not distinguish them."""
    rows = first_segment_rows(golden)
    real = golden["attention_mask"][rows] == 1
    states = [golden[f"{variant}.last_hidden_state"][rows][real] for variant in VARIANTS]
    for at, one in enumerate(states):
        for other in states[at + 1 :]:
            assert np.abs(one - other).max() > 5e-5


def test_what_stands_in_padding_changes_nothing(checkpoint, golden):
    rows = first_segment_rows(golden)
    ids, mask = golden["input_ids"][rows], golden["attention_mask"][rows]
    encoder = encoder_of(checkpoint)
    filled = np.where(mask == 1, ids, 95).astype(np.int32)
    for one, other in zip(encoder(ids, mask), encoder(filled, mask), strict=True):
        if one.shape.rank == 3:
            one, other = one[mask == 1], other[mask == 1]
        np.testing.assert_array_equal(one, other)


def test_an_empty_batch_gives_empty_outputs(checkpoint):
    sequence, pooled = encoder_of(checkpoint)(np.zeros((0, 2), np.int32), np.zeros((0, 2), np.int32))
    assert sequence.shape == (0, 2, 32)
    assert pooled.shape == (0, 32)


def test_all_positions_can_be_used(checkpoint):
    ids = np.full((1, 64), 76, np.int32)
    sequence, _ = encoder_of(checkpoint)(ids, np.ones_like(ids))
    assert sequence.shape == (1, 64, 32)
    assert np.isfinite(sequence.numpy()).all()


def test_without_a_pooler_there_is_no_pooled_output(checkpoint, golden):
    encoder = encoder_of(checkpoint, has_pooler=False)
    sequence, pooled = encoder(golden["input_ids"], golden["attention_mask"])
    assert pooled is None
    assert sequence.shape == (6, 24, 32)
    assert not [variable for variable in encoder.variables if "pooler" in variable.name]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("gelu", [-0.15865525, 0.0, 1.9544997]),
        ("gelu_tanh", [-0.15880801, 0.0, 1.9545977]),
        ("relu", [0.0, 0.0, 2.0]),
        ("tanh", [-0.76159416, 0.0, 0.96402758]),
        ("sigmoid", [0.26894142, 0.5, 0.88079708]),
        ("silu", [-0.26894142, 0.0, 1.76159416]),
        ("identity", [-1.0, 0.0, 2.0]),
    ],
)
def test_every_activation_has_the_values_of_its_formula(name: str, wanted: list[float]):
    import tensorflow as tf
    from rawbert.exporter.graph.encoder import activation

    np.testing.assert_allclose(activation(name)(tf.constant([-1.0, 0.0, 2.0])), wanted, rtol=0, atol=1e-6)
