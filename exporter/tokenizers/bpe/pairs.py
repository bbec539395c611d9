"""A table by pairs of numbers, in the graph."""

import numpy as np
import tensorflow as tf


class PairTable:
    """Finds pairs of numbers, of which the second is below a limit.

    Args:
        pairs: int ``[n, 2]``, each once.
        limit: of the second number.
    """

    def __init__(self, pairs: np.ndarray, limit: int) -> None:
        keys = pairs[:, 0].astype(np.int64) * limit + pairs[:, 1]
        #: The order that values of pairs must be brought into, with one more value, of all other pairs, after them.
        self.order = np.argsort(keys)
        # After the last key there is one that no pair has.
        self._keys = tf.constant(np.append(keys[self.order], np.iinfo(np.int64).max))
        self._limit = limit

    def __call__(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """Row of each pair in the ordered values; the last one for those that are not there, int32."""
        key = tf.cast(first, tf.int64) * self._limit + tf.cast(second, tf.int64)
        row = tf.searchsorted(self._keys, key)
        return tf.where(tf.gather(self._keys, row) == key, row, tf.size(self._keys) - 1)
