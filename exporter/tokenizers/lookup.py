"""Tables in the graph: over all code points, and of strings."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .tables import PAGE, Pages


class Lookup:
    """A paged table in the graph."""

    def __init__(self, table: Pages) -> None:
        self._page_index, self._pages = tf.constant(table.page_index), tf.constant(table.pages.reshape(-1))

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        """The values of code points, int32, of the same shape."""
        return tf.gather(self._pages, tf.gather(self._page_index, codes // PAGE) * PAGE + codes % PAGE)


class Strings:
    """Finds strings in a fixed set.

    Args:
        known: the strings, each once.
    """

    def __init__(self, known: Sequence[str | bytes]) -> None:
        hashes = self._hash(tf.constant(list(known), tf.string, [len(known)])).numpy()
        order = np.argsort(hashes)
        assert np.all(np.diff(hashes[order])), "two strings have one hash"
        self._hashes = tf.constant(hashes[order])
        # One more entry, for hashes above the last; its row stands for an unknown string.
        self._known = tf.gather(tf.constant([*known, b""], tf.string), [*order, len(known)])
        self._rows = tf.constant(np.append(order, len(known)).astype(np.int32))
        self.count = len(known)

    def __call__(self, strings: tf.Tensor) -> tf.Tensor:
        """Index of each string in the set, int32; the size of the set for an unknown string."""
        at = tf.searchsorted(self._hashes, self._hash(strings))
        found = tf.gather(self._known, at) == strings
        return tf.where(found, tf.gather(self._rows, at), self.count)

    @staticmethod
    def _hash(strings: tf.Tensor) -> tf.Tensor:
        # FarmHash's Fingerprint64, which is the same in every version.
        return tf.strings.to_hash_bucket_fast(strings, 2**63 - 1)
