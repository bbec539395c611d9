"""A Hub layer in length groups: every text gets its own vectors in any group."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

HIDDEN = 8


class Layer:
    """A substitute for a Hub layer: its vectors encode token, position and type; it records the shapes of its calls."""

    resolved_object = SimpleNamespace()
    hidden_size = HIDDEN

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int]] = []

    def __call__(self, ids, mask, types):
        import tensorflow as tf

        tf.py_function(lambda shape: self.shapes.append(tuple(shape.numpy())), [tf.shape(ids)], [])
        place = tf.range(tf.shape(ids)[1])
        numbers = (ids * 1000 + place * 10 + types) * mask
        sequence = tf.cast(numbers, tf.float32)[:, :, tf.newaxis] + tf.range(HIDDEN, dtype=tf.float32)
        return sequence, tf.reduce_sum(sequence * tf.cast(mask, tf.float32)[:, :, tf.newaxis], axis=1)


@pytest.fixture
def called():
    """The layer, and the encoder around it as a graph of any shape."""
    import tensorflow as tf
    from rawbert.exporter.graph.hub_encoder import HubEncoder

    layer = Layer()
    encoder = HubEncoder(layer)
    spec = tf.TensorSpec([None, None], tf.int32)
    return layer, tf.function(encoder, autograph=False).get_concrete_function(spec, spec, spec)


@pytest.mark.parametrize(
    ("texts", "longest"), [(0, 2), (1, 2), (1, 128), (2, 9), (7, 64), (32, 128), (100, 128), (100, 3)]
)
def test_every_text_has_its_own_vectors(called, texts: int, longest: int):
    import tensorflow as tf

    layer, encode = called
    rng = np.random.default_rng(texts)
    lengths = rng.integers(2, longest + 1, texts)
    width = max([2, *lengths])
    ids, types = (rng.integers(0, high, (texts, width), dtype=np.int32) for high in (1000, 2))
    mask = (np.arange(width) < lengths[:, np.newaxis]).astype(np.int32)
    sequence, pooled = encode(tf.constant(ids), tf.constant(mask), tf.constant(types))
    groups = layer.shapes[:]
    wanted, wanted_pooled = layer(ids, mask, types)
    real = mask[:, :, np.newaxis] == 1
    assert sequence.shape == (texts, width, HIDDEN)
    np.testing.assert_array_equal(sequence * real, wanted * real)
    np.testing.assert_allclose(pooled, wanted_pooled, rtol=1e-5)
    assert sum(count for count, _ in groups) == texts
    assert 1 <= len(groups) <= 8


def test_padding_is_left_out(called):
    import tensorflow as tf

    layer, encode = called
    lengths = np.repeat([8, 16, 32, 128], [16, 8, 4, 1])
    mask = (np.arange(128) < lengths[:, np.newaxis]).astype(np.int32)
    encode(tf.constant(mask), tf.constant(mask), tf.constant(mask * 0))
    assert sum(count * tokens for count, tokens in layer.shapes) < 1.25 * lengths.sum()  # padded, 7.25 times it


def test_a_few_tokens_stay_one_group(called):
    import tensorflow as tf

    layer, encode = called
    mask = tf.constant([[1, 1, 1, 1], [1, 1, 0, 0]])
    encode(mask, mask, mask * 0)
    assert layer.shapes == [(2, 4)]
