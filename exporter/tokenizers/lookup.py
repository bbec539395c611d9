"""Tables in the graph: over all code points, and of strings."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .tables import PAGE, Pages


class Lookup:
    """A paged table in the graph."""

    def __init__(self, table: Pages) -> None:
        self._page_index, self._pages = tf.constant(table.page_index * PAGE), tf.constant(table.pages.reshape(-1))

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        """The values of code points, int32, of the same shape."""
        # PAGE is a power of two; shifting and masking take half the time of dividing.
        page = tf.gather(self._page_index, tf.bitwise.right_shift(codes, PAGE.bit_length() - 1))
        return tf.gather(self._pages, tf.bitwise.bitwise_or(page, tf.bitwise.bitwise_and(codes, PAGE - 1)))


class Numbers:
    """Finds numbers among some that are known, by a hash table: the numbers of a bucket are next to each other.

    Args:
        known: int64 ``[n]``, 0 or more, each once.
    """

    def __init__(self, known: np.ndarray) -> None:
        self.count = len(known)
        # Where numbers are alike some divisors are bad.
        self._buckets = min(range(self.count | 1, (self.count | 1) + 10, 2), key=lambda each: _fullest(known, each))
        bucket = known % self._buckets
        order = np.argsort(bucket, kind="stable")
        self._begin = tf.constant(np.searchsorted(bucket[order], np.arange(self._buckets)).astype(np.int32))
        self._width = max(_fullest(known, self._buckets), 1)
        # A window of the last buckets may reach beyond the last number; -1 is none.
        self._known = tf.constant(np.append(known[order], np.full(self._width, -1)))
        self._rows = tf.constant(np.append([self.count], order).astype(np.int32))

    def __call__(self, numbers: tf.Tensor) -> tf.Tensor:
        """Row of each number ``[N]`` among the known ones, int32; their count for one that is not."""
        begin = tf.gather(self._begin, numbers % self._buckets)
        at = begin[:, tf.newaxis] + tf.range(self._width)  # [N, width]
        found = tf.gather(self._known, at) == numbers[:, tf.newaxis]
        return tf.gather(self._rows, tf.reduce_max(tf.where(found, at + 1, 0), 1))


def _fullest(known: np.ndarray, buckets: int) -> int:
    return int(np.bincount(known % buckets, minlength=1).max())


class Strings:
    """Finds strings in a fixed set.

    Args:
        known: the strings, each once.
    """

    def __init__(self, known: Sequence[str | bytes]) -> None:
        hashes = self._hash(tf.constant(list(known), tf.string, [len(known)])).numpy()
        assert len(set(hashes.tolist())) == len(known), "two strings have one hash"
        self._find = Numbers(hashes)
        self._known = tf.constant([*known, b""], tf.string)
        self.count = len(known)

    def __call__(self, strings: tf.Tensor) -> tf.Tensor:
        """Row of each string ``[N]`` among the known ones, int32; their count for one that is not."""
        row = self._find(self._hash(strings))
        return tf.where(tf.gather(self._known, row) == strings, row, self.count)

    @staticmethod
    def _hash(strings: tf.Tensor) -> tf.Tensor:
        # FarmHash's Fingerprint64, which is the same in every version.
        return tf.strings.to_hash_bucket_fast(strings, 2**63 - 1)


class Pairs:
    """Finds pairs of numbers among some that are known.

    Args:
        known: int ``[n, 2]``, 0 or more, each once.
        limit: of the second number.
    """

    def __init__(self, known: np.ndarray, limit: int) -> None:
        self._find = Numbers(known[:, 0].astype(np.int64) * limit + known[:, 1])
        self._limit = limit

    def __call__(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """Row of each pair ``[N]`` among the known ones, int32; their count for one that is not."""
        return self._find(tf.cast(first, tf.int64) * self._limit + tf.cast(second, tf.int64))
