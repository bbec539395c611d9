"""Replacements of code points and of short sequences of them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from .lookup import Lookup
from .ragged import spread
from .tables import CODE_POINTS, paged

#: Bits of an entry for the length of a text; no replacement is longer.
_BITS = 6


class Replacements:
    """Texts that replace code points.

    The entry of a code point is 0 if it stays; else it contains the start of a text in a flat tensor, and its length.

    Args:
        texts: by code point.
        others: further texts, whose entries are ``self.others``.
    """

    def __init__(self, texts: Mapping[int, Sequence[int]], others: Iterable[Sequence[int]] = ()) -> None:
        flat: list[int] = []
        places: dict[tuple[int, ...], int] = {}

        def entry(text: Sequence[int]) -> int:
            key = tuple(text)
            assert len(key) < 1 << _BITS
            if key not in places:
                places[key] = len(flat)
                flat.extend(key)
            return (places[key] << _BITS | len(key)) + 1

        values = np.zeros(CODE_POINTS, np.int32)
        for code, text in texts.items():
            values[code] = entry(text)
        self.others = np.array([entry(text) for text in others], np.int32)
        self.look_up = Lookup(paged(values))
        self._flat = tf.constant(flat or [0], tf.int32)

    def __call__(self, codes: tf.Tensor, entries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Replace code points ``[C]`` by their entries.

        Returns:
            The code point of each result ``[E]``, the index of its origin, and its number among that origin's results.
        """
        stays = entries == 0
        source, within = spread(tf.where(stays, 1, self.lengths(entries)))
        stays = tf.gather(stays, source)
        at = tf.bitwise.right_shift(tf.gather(entries, source) - 1, _BITS) + within
        return tf.where(stays, tf.gather(codes, source), tf.gather(self._flat, tf.where(stays, 0, at))), source, within

    @staticmethod
    def lengths(entries: tf.Tensor) -> tf.Tensor:
        """Number of code points of each text; 0 for code points that stay."""
        return tf.where(entries == 0, 0, tf.bitwise.bitwise_and(entries - 1, (1 << _BITS) - 1))
