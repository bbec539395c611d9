"""Packing and length groups: the results for a text do not depend on the rest of its batch."""

from __future__ import annotations

import numpy as np
import pytest


def padded(lengths: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(seed).integers(5, 90, (len(lengths), max(lengths, default=2)), dtype=np.int32)
    mask = (np.arange(ids.shape[1]) < np.array(lengths, np.int32)[:, np.newaxis]).astype(np.int32)
    return ids, mask.reshape(ids.shape)


@pytest.fixture(scope="module")
def encode(checkpoint):
    """The encoder as a graph for inputs of any shape, as in an export."""
    import tensorflow as tf
    from rawbert.exporter.graph.encoder import NativeEncoder

    encoder = NativeEncoder(checkpoint.encoder, checkpoint.weights)
    spec = tf.TensorSpec([None, None], tf.int32)
    return tf.function(lambda ids, mask: encoder(ids, mask), autograph=False).get_concrete_function(spec, spec)


@pytest.mark.parametrize(
    "lengths",
    [
        [7],
        [2, 9],  # fewer texts than groups
        [9, 2, 5],
        [64, 2, 2, 2, 2, 2, 2, 2, 2],  # one text has most of the tokens
        [3, 17, 8, 8, 30, 2, 64, 11, 5, 8, 21, 2],
        [8] * 6,  # nothing to pack
        [8] * 5 + [7],
    ],
    ids=str,
)
def test_a_text_has_the_vectors_that_it_has_alone(encode, lengths: list[int]):
    import tensorflow as tf

    ids, mask = padded(lengths)
    sequence, pooled = encode(tf.constant(ids), tf.constant(mask))
    assert sequence.shape == (*ids.shape, 32)
    for row, length in enumerate(lengths):
        alone, pooled_alone = encode(
            tf.constant(ids[row : row + 1, :length]), tf.constant(mask[row : row + 1, :length])
        )
        np.testing.assert_allclose(sequence[row, :length], alone[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(pooled[row], pooled_alone[0], rtol=0, atol=1e-5)


def test_the_order_of_the_texts_is_the_callers(encode):
    import tensorflow as tf

    lengths = [3, 17, 8, 8, 30, 2, 64, 11]
    ids, mask = padded(lengths)
    sequence, _ = encode(tf.constant(ids), tf.constant(mask))
    order = np.random.default_rng(1).permutation(len(lengths))
    shuffled, _ = encode(tf.constant(ids[order]), tf.constant(mask[order]))
    for row, source in enumerate(order):
        length = lengths[source]
        np.testing.assert_allclose(shuffled[row, :length], sequence[source, :length], rtol=0, atol=1e-5)


def test_every_token_is_in_one_group_and_groups_are_tight():
    import tensorflow as tf
    from rawbert.exporter.graph.packing import Packing

    lengths = np.random.default_rng(2).integers(2, 50, 40).tolist()
    _, mask = padded(lengths)
    heads = 3
    packing = Packing(tf.constant(mask), heads)
    seen, padded_size = [], 0
    for group in packing.groups:
        real = group.bias.numpy()[:, 0, 0, :] == 0
        assert real.any(axis=0).all()  # as wide as its longest text
        query, key, value = group.rows.numpy().transpose(0, 1, 3, 2)  # each [g, t, A]
        tokens, head = np.divmod(query, 3 * heads)
        np.testing.assert_array_equal(head, np.broadcast_to(np.arange(heads), head.shape))
        np.testing.assert_array_equal(key, query + heads)
        np.testing.assert_array_equal(value, query + 2 * heads)
        assert (tokens == tokens[..., :1]).all()
        seen += tokens[..., 0][real].tolist()
        padded_size += real.size
    assert sorted(seen) == list(range(sum(lengths)))
    # Padded to the batch's longest, they would be 40 * 49.
    assert padded_size < 1.35 * sum(lengths) < mask.size


@pytest.mark.parametrize("lengths", [[5, 2, 9, 9, 3, 4, 12], [7, 7, 7], [6]])
def test_every_row_of_every_token_comes_back(lengths):
    import tensorflow as tf
    from rawbert.exporter.graph.packing import Packing

    heads, size = 3, 2
    ids, mask = padded(lengths)
    for many in (True, False)[: 2 if len(lengths) == 1 else 1]:
        packing = Packing(tf.constant(mask), heads, many)
        packed = packing.pack(tf.constant(ids))
        np.testing.assert_array_equal(packed, ids[mask == 1])
        np.testing.assert_array_equal(packing.columns, np.concatenate([np.arange(length) for length in lengths]))
        unpacked = packing.unpack(tf.cast(packed[:, tf.newaxis], tf.float32))
        np.testing.assert_array_equal(unpacked[:, :, 0].numpy()[mask == 1], ids[mask == 1])
        numbers = tf.random.stateless_uniform([int(mask.sum()), 3, heads, size], [1, 2])
        rows = tf.reshape(numbers, [-1, size])
        for part in range(3):  # queries, keys and values of each group, and its results
            back = packing.join([tf.gather(rows, group.rows[part]) for group in packing.groups])
            np.testing.assert_array_equal(back, numbers[:, part])


def test_rows_without_any_token_harm_no_other(encode):
    import tensorflow as tf

    ids, mask = padded([4, 6, 3])
    mask[1] = 0
    sequence, _ = encode(tf.constant(ids), tf.constant(mask))
    alone, _ = encode(tf.constant(ids[:1, :4]), tf.constant(mask[:1, :4]))
    np.testing.assert_allclose(sequence[0, :4], alone[0], rtol=0, atol=1e-5)
