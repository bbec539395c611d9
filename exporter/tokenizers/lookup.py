"""Tables in the graph: over all code points, of strings, and of pairs of numbers."""

from collections.abc import Mapping
from typing import Any

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


class PerfectHash:
    """A slot of its own for each of some numbers (hash and displace; Belazzougui, Botelho and Dietzfelbinger, 2009).

    Numbers are divided into buckets, and each bucket has a shift. The slot of a number is
    ``(number + shift) % slots``. One slot has no number.

    Args:
        numbers: int64 ``[n]``, from 0 to 2 ** 62, each once.
    """

    def __init__(self, numbers: np.ndarray) -> None:
        self._slots, buckets = len(numbers) * 5 // 4 + 1, len(numbers) // 3 | 1
        while (shifts := _shifts(numbers, buckets, self._slots)) is None:
            buckets += 2
        self._buckets, self._shifts = buckets, tf.constant(shifts)
        self._of_known = (numbers + shifts[numbers % buckets]) % self._slots
        assert len(np.unique(self._of_known)) == len(numbers)
        self.free = int(np.setdiff1d(np.arange(self._slots), self._of_known)[0])

    def __call__(self, numbers: tf.Tensor) -> tf.Tensor:
        """Slots of numbers ``[N]``, int64. Unknown numbers get any slot."""
        return (numbers + tf.gather(self._shifts, numbers % self._buckets)) % self._slots

    def table(self, values: np.ndarray, missing: Any) -> np.ndarray:
        """The values ``[n, ...]`` of the numbers in the order of slots, and ``missing`` in the other slots."""
        slots = np.full((self._slots, *values.shape[1:]), missing, values.dtype)
        slots[self._of_known] = values
        return slots


def _shifts(numbers: np.ndarray, buckets: int, slots: int) -> np.ndarray | None:
    """The shift of each bucket; ``None`` if there are no such shifts."""
    bucket = numbers % buckets
    count = np.bincount(bucket, minlength=buckets)
    ordered, begin = numbers[np.argsort(bucket, kind="stable")], np.cumsum(count) - count
    shifts, owner = np.zeros(buckets, np.int64), np.full(slots, -1)
    step = next(prime for prime in (7919, 7927, 7933, 7937) if slots % prime)  # so that trials reach all slots
    # The largest buckets first; those of equal size try the same shift at the same time.
    for size in range(count.max(), 0, -1):
        left = np.flatnonzero(count == size)
        home = ordered[begin[left, np.newaxis] + np.arange(size)] % slots
        if (np.diff(np.sort(home, 1), axis=1) == 0).any():  # two numbers that no shift separates
            return None
        for trial in range(slots):
            at = (home + trial * step) % slots
            fits = np.flatnonzero((owner[at] < 0).all(1))
            each, wanted = left[fits, np.newaxis], at[fits]
            owner[wanted] = each
            gets = (owner[wanted] == each).all(1)  # and not another bucket that wants the same slot
            owner[wanted[~gets][owner[wanted[~gets]] == each[~gets]]] = -1
            shifts[left[fits[gets]]] = trial * step % slots
            left, home = np.delete(left, fits[gets]), np.delete(home, fits[gets], 0)
            if not len(left):
                break
        else:
            return None
    return shifts


class Strings:
    """Finds strings in a fixed set.

    Args:
        known: the strings, each once, and their values, int32, 0 or more.
    """

    def __init__(self, known: Mapping[str, int] | Mapping[bytes, int]) -> None:
        hashes = self._hash(tf.constant(list(known), tf.string, [len(known)])).numpy()
        assert len(set(hashes.tolist())) == len(known), "two strings have one hash"
        self._slots = PerfectHash(hashes)
        self._known = tf.constant(self._slots.table(np.array([*known, b""], object)[:-1], b""))
        self._values = tf.constant(self._slots.table(np.array(list(known.values()), np.int32), -1))

    def __call__(self, strings: tf.Tensor) -> tf.Tensor:
        """The value of each string ``[N]``, int32; -1 for unknown strings."""
        slot = self._slots(self._hash(strings))
        return tf.where(tf.gather(self._known, slot) == strings, tf.gather(self._values, slot), -1)

    @staticmethod
    def _hash(strings: tf.Tensor) -> tf.Tensor:
        # FarmHash's Fingerprint64, which is the same in every version.
        return tf.strings.to_hash_bucket_fast(strings, 2**62)


class Pairs:
    """Finds pairs of numbers among some that are known.

    Args:
        known: int ``[n, 2]``, 0 or more, each once.
        values: ``[n, ...]``, of each pair.
        missing: value of unknown pairs.
        limit: upper limit of the second number, exclusive.
    """

    def __init__(self, known: np.ndarray, values: np.ndarray, missing: int, limit: int) -> None:
        keys = known[:, 0].astype(np.int64) * limit + known[:, 1]
        self._slots, self._limit = PerfectHash(keys), limit
        self._keys = tf.constant(self._slots.table(keys, -1))
        self._values = tf.constant(self._slots.table(values, missing))

    def __call__(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """The value of each pair ``[N]``; a negative number is in no pair."""
        keys = tf.cast(first, tf.int64) * self._limit + tf.cast(second, tf.int64)
        slot = self._slots(keys)
        return tf.gather(self._values, tf.where(tf.gather(self._keys, slot) == keys, slot, self._slots.free))
