"""Self-attention of an :class:`..families.EncoderConfig` over a batch, in the groups of a packing.

Shape letters as in :mod:`.packing`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from ..families.config import EncoderConfig
from .packing import MASKED, Group, Packing
from .positions import rows_of_distances
from .prepared import Array

#: Dropout in training, from a group's probabilities and the group's number.
Dropout = Callable[[tf.Tensor, int], tf.Tensor]


class Attention:
    """Multi-head self-attention in layers of one kind.

    Tensors that depend only on positions are computed once for all layers.

    Args:
        config: configuration of the encoder.
        packing: packing of the batch.
        tables: the encoder's weights by name.
        is_local: whether the layers have a window.
    """

    def __init__(self, config: EncoderConfig, packing: Packing, tables: Mapping[str, Array], is_local: bool) -> None:
        self._config, self._packing = config, packing
        self._window, theta = None, config.rotary_theta
        if is_local:
            assert config.local is not None
            self._window, theta = config.local.window, config.local.theta
        self._turns = None if theta is None else tf.gather(tables[f"rotary/{theta}"], packing.columns)  # [N, D]
        self._fixed = [_Fixed(self._biases_of(group, tables), self._distances_of(group)) for group in packing.groups]

    def __call__(self, qkv: tf.Tensor, weights: Mapping[str, Array], dropped: Dropout) -> tf.Tensor:
        """Compute attention.

        Args:
            qkv: ``[N, 3H]``: query (already divided, see :mod:`.prepared`), key and value.
            weights: weights of the layer by name.
            dropped: dropout in training.

        Returns:
            ``[N, H]``, before the output projection.
        """
        rows = tf.reshape(self._turned(qkv), [-1, self._config.head_size])  # [N * 3 * A, D]
        contexts = []
        for number, (parts, fixed) in enumerate(zip(self._packing.split(rows), self._fixed, strict=True)):
            query, key, value = tf.unstack(parts)  # each [g, A, t, D]
            scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)  # [g, A, t, t]
            for bias in (*fixed.biases, *_by_distance(query, key, fixed.distances, weights)):
                scores += bias
            probabilities = dropped(tf.nn.softmax(scores), number)
            contexts.append(tf.matmul(tf.cast(probabilities, qkv.dtype), value))  # [g, A, t, D]
        return tf.reshape(self._packing.join(contexts), [-1, self._config.hidden_size])

    def _biases_of(self, group: Group, tables: Mapping[str, Array]) -> list[tf.Tensor]:
        """The biases on a group's attention scores in every layer; each broadcasts to ``[g, A, t, t]``."""
        biases = [] if group.bias is None else [group.bias]
        if self._config.relative_bias is not None:
            with tf.device("/CPU:0"):
                away = group.columns[tf.newaxis, :] - group.columns[:, tf.newaxis] + self._config.max_positions - 1
            biases.append(tf.gather(tables["attention/relative_bias"], away, axis=1))  # [A, t, t]
        if self._window is not None:
            columns = tf.cast(group.columns, tf.float32)
            far = tf.where(tf.abs(columns - columns[:, tf.newaxis]) <= self._window, 0.0, MASKED)  # [t, t]
            # Added to the padding mask here: two additions in every layer would cost more.
            biases = [far if group.bias is None else far + group.bias]
        return biases

    def _distances_of(self, group: Group) -> tf.Tensor | None:
        """Rows of the distance table, int32 ``[2t]``: for a query from ``1 - t`` to ``t`` tokens after its key."""
        if self._config.disentangled is None:
            return None
        positions = self._config.max_positions
        rows = tf.constant(rows_of_distances(self._config.disentangled, positions))
        length = tf.size(group.columns)
        with tf.device("/CPU:0"):
            return rows[positions - length : positions + length]

    def _turned(self, qkv: tf.Tensor) -> tf.Tensor:
        """Queries and keys rotated by their positions, in float32: ``[N, 3H]`` -> ``[N, 3A, D]``."""
        if self._turns is None:
            return qkv
        heads, size = self._config.num_heads, self._config.head_size
        qkv = tf.reshape(qkv, [-1, 3 * heads, size])
        first, second = tf.split(tf.cast(qkv[:, : 2 * heads], tf.float32), 2, axis=-1)  # [N, 2A, D / 2]
        cosines, sines = tf.split(self._turns[:, tf.newaxis, :], 2, axis=-1)  # [N, 1, D / 2]
        turned = tf.concat([first * cosines - second * sines, second * cosines + first * sines], -1)
        return tf.concat([tf.cast(turned, qkv.dtype), qkv[:, 2 * heads :]], 1)


class _Fixed(NamedTuple):
    """The part of a group's attention that is the same in every layer."""

    biases: list[tf.Tensor]
    distances: tf.Tensor | None


def _by_distance(
    query: tf.Tensor, key: tf.Tensor, distances: tf.Tensor | None, weights: Mapping[str, Array]
) -> list[tf.Tensor]:
    """The distance terms of the scores, float32 ``[g, A, t, t]`` each, from query and key ``[g, A, t, D]``.

    A product with the vectors of all ``2t - 1`` distances costs less than a vector lookup for each pair of tokens.
    """
    if distances is None:
        return []
    biases = []
    if "attention/distance_queries/rows" in weights:
        of_keys = _of_pairs(key, weights["attention/distance_queries/rows"], distances)  # [g, A, key, query]
        biases.append(tf.linalg.matrix_transpose(of_keys))
    if "attention/distance_keys/rows" in weights:
        # Seen from the query, the order of distances is reversed.
        turned = tf.concat([tf.reverse(distances[:-1], [0]), distances[-1:]], 0)
        biases.append(_of_pairs(query, weights["attention/distance_keys/rows"], turned))
    return biases


def _of_pairs(x: tf.Tensor, table: Array, rows: tf.Tensor) -> tf.Tensor:
    """The product of each token's vector with the vector of its distance to each token.

    Args:
        x: ``[g, A, t, D]``.
        table: ``[A, distances, D]``.
        rows: int32 ``[2t]``, rows of the table for tokens from ``t - 1`` before to ``t - 1`` after; the last is unused.

    Returns:
        float32 ``[g, A, t, t]``.
    """
    products = tf.matmul(x, tf.gather(table, rows, axis=1), transpose_b=True)  # [g, A, t, 2t]
    with tf.device("/CPU:0"):
        texts, heads, length = tf.unstack(tf.shape(x)[:3])
        pairs = length * (2 * length - 1)
    # Token i needs columns t - 1 - i to 2t - 2 - i. Trick: drop the first t - 1 numbers and use rows of 2t - 1 in place
    # of 2t; then these are the first t numbers of row i.
    flat = tf.reshape(products, [texts, heads, 2 * length * length])
    flat = tf.slice(flat, [0, 0, tf.maximum(length - 1, 0)], [texts, heads, pairs])
    return tf.cast(tf.reshape(flat, [texts, heads, length, tf.maximum(2 * length - 1, 0)])[..., :length], tf.float32)
