"""Words to tokens: each distinct word of a batch once, and words of one token by a look-up.

Shape letters: W words, U distinct words, R distinct words that are not one token, L tokens.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from .lookup import Strings
from .ragged import spread, starts_of


class Tokens(NamedTuple):
    """Tokens of several words, end to end."""

    ids: tf.Tensor  # int32 [L]
    begins: tf.Tensor  # int32 [L], the first unit in the word
    limits: tf.Tensor  # int32 [L], the unit after the last
    counts: tf.Tensor  # int32 [W], tokens of each word


class DistinctWords:
    """Tokenizes words, each distinct one once.

    Args:
        whole: words that are one token, UTF-8, and its id.
        split: tokenizes the others, UTF-8 ``[R]``.
        unit: the unit of positions: ``BYTE``, or ``UTF8_CHAR`` for code points.
    """

    def __init__(self, whole: Mapping[bytes, int], split: Callable[[tf.Tensor], Tokens], unit: str) -> None:
        self._whole = Strings(whole)
        self._split, self._unit = split, unit

    def __call__(self, words: tf.Tensor) -> Tokens:
        """Tokens of words, UTF-8 ``[W]``, none of them empty."""
        words, which = tf.unique(words)  # [U]
        ids = self._whole(words)
        known = ids >= 0
        others = tf.gather(words, tf.where(~known)[:, 0])  # [R]
        nothing = tf.zeros([0], tf.int32)
        made = tf.cond(
            tf.size(others) > 0, lambda: self._split(others), lambda: Tokens(nothing, nothing, nothing, nothing)
        )
        # A token for each word (not used if the word has others), and after these the tokens of the other words.
        ids, begins, limits = (
            tf.concat(pair, 0)
            for pair in (
                (ids, made.ids),
                (tf.zeros_like(ids), made.begins),
                (tf.strings.length(words, self._unit), made.limits),
            )
        )
        number = tf.cumsum(tf.cast(~known, tf.int32)) - 1  # among the others
        number = tf.where(known, tf.size(made.counts), number)
        counts = tf.gather(tf.concat([made.counts, [1]], 0), number)
        start = tf.where(known, tf.range(tf.size(words)), tf.size(words) + tf.gather(starts_of(made.counts), number))
        counts = tf.gather(counts, which)
        word, within = spread(counts)
        at = tf.gather(tf.gather(start, which), word) + within
        return Tokens(tf.gather(ids, at), tf.gather(begins, at), tf.gather(limits, at), counts)
