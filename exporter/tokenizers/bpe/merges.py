"""Words to tokens by merging pairs, lowest rank first, for all words of a batch at once.

The reference merges one pair at a time: the one with the lowest rank in the word, of equal ones the leftmost. Here
each round merges every pair whose order cannot matter. The trick is a bound on the rank at which a symbol is merged
with a neighbour. Take neighbours ``v w x y``: x is lost to the left by the merge ``w x``, or by some merge ``W x``,
where W is longer than w and ends with it. This needs a W in the table, and w must be lost to the left before:

    lost(x) >= min(rank(w x), max(lowest rank of such a W x, lost(w)))

and likewise to the right. If neither x nor y can be lost before the rank of ``x y``, the pair is merged in this round.
(Created early, ``xy`` takes part only in merges of higher ranks, see :func:`.out_of_order`.) The pair with the lowest
rank in its word is always merged, so that each round makes progress. In a run ``x x x`` pairs overlap: every second
pair is merged, from the left. Three or four rounds suffice for words of any length.

Shape letters: W words, N symbols of all words, L tokens, V tokens of the vocabulary, M entries of the table.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ..distinct import Tokens
from ..lookup import Pairs
from ..ragged import lengths_of, rows_of, starts_of
from .spec import LETTERS, BpeSpec

_NONE = np.iinfo(np.int32).max
#: Number of neighbours on each side that the bounds of a rank consider.
_LOOKS = 3


class MergeTable(NamedTuple):
    """The ranks of merges of two neighbouring symbols.

    Attributes:
        pairs: int32 ``[M, 2]``, ids of two neighbours.
        entries: int32 ``[M, 3]``: the rank of their merge; the lowest rank of a merge of the second with a longer
            symbol before it that ends with the first; the lowest rank of a merge of the first with a longer symbol
            after it that begins with the second.
        made: int32 ``[merges]``, the resulting id of each merge, by rank.
    """

    pairs: np.ndarray
    entries: np.ndarray
    made: np.ndarray


def table(spec: BpeSpec) -> MergeTable:
    """Build the table of merges of neighbours."""
    ids = {token: at for at, token in enumerate(spec.vocab) if token is not None}
    ranks = {pair: rank for rank, pair in enumerate(spec.merges)}  # of equal pairs the last counts
    found: dict[tuple[int, int], list[int]] = {}

    def lower(pair: tuple[int, int], column: int, rank: int) -> None:
        entry = found.setdefault(pair, [_NONE] * 3)
        entry[column] = min(entry[column], rank)

    for (one, other), rank in ranks.items():
        first, second = ids[one], ids[other]
        lower((first, second), 0, rank)
        for at in range(1, len(one)):
            if one[at:] in ids:
                lower((ids[one[at:]], second), 1, rank)
        for at in range(1, len(other)):
            if other[:at] in ids:
                lower((first, ids[other[:at]]), 2, rank)
    return MergeTable(
        pairs=np.array(list(found) or np.zeros((0, 2)), np.int32),
        entries=np.array(list(found.values()) or np.zeros((0, 3)), np.int32),
        made=np.array([ids[one + other] for one, other in spec.merges] or [0], np.int32),
    )


class Merges:
    """Merges the bytes of words."""

    def __init__(self, spec: BpeSpec) -> None:
        ids = {token: at for at, token in enumerate(spec.vocab)}
        # A byte without a token is unknown, or never occurs in UTF-8.
        unknown = ids.get(spec.unknown_byte, 0)
        self._of_byte = tf.constant([ids.get(letter, unknown) for letter in LETTERS], tf.int32)
        known = table(spec)
        self._entries = Pairs(known.pairs, known.entries, _NONE, len(spec.vocab))
        self._made = tf.constant(known.made)

    def __call__(self, words: tf.Tensor) -> Tokens:
        """Tokens of words, UTF-8 ``[W]``, none of them empty."""
        raw = tf.cast(tf.io.decode_raw(tf.strings.reduce_join(words), tf.uint8), tf.int32)  # [N]
        sizes = tf.strings.length(words)
        place = tf.range(tf.size(raw))
        word = rows_of(starts_of(sizes), tf.size(raw))
        symbols = tf.stack([tf.gather(self._of_byte, raw), word, place], 1)  # [N, 3]
        count = tf.size(words)
        shapes = (tf.TensorShape([None, 3]), tf.TensorShape([None, 3]))
        symbols, _ = tf.while_loop(
            lambda symbols, known: tf.reduce_any(known[:, 0] < _NONE),
            lambda symbols, known: self._round(symbols, known, count),
            (symbols, self._known(symbols)),
            shape_invariants=shapes,
            parallel_iterations=1,
        )
        ids, word, begins = tf.unstack(symbols, axis=1)
        limits = tf.concat([begins[1:], tf.shape(raw)], 0)
        start = tf.gather(starts_of(sizes), word)
        splits = tf.searchsorted(word, tf.range(count + 1))
        return Tokens(ids, begins - start, limits - start, lengths_of(splits))

    def _known(self, symbols: tf.Tensor) -> tf.Tensor:
        """The table's entry of each symbol and the one after it, int32 ``[N, 3]``."""
        ids, word = symbols[:, 0], symbols[:, 1]
        first = tf.where(tf.concat([word[1:], [-1]], 0) == word, ids, -1)  # -1: the last of a word is in no pair
        return self._entries(first, tf.concat([ids[1:], [0]], 0))

    def _round(self, symbols: tf.Tensor, known: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Merge all pairs that can be merged in this round."""
        ids, word, place = tf.unstack(symbols, axis=1)
        rank, longer_left, longer_right = tf.unstack(known, axis=1)
        # Ranks at which the first of each pair may be lost to the left, and the second to the right.
        left = right = tf.zeros_like(rank)
        for _ in range(_LOOKS + 1):
            left = tf.concat([[_NONE], tf.minimum(rank, tf.maximum(longer_left, left))[:-1]], 0)
            right = tf.concat([tf.minimum(rank, tf.maximum(longer_right, right))[1:], [_NONE]], 0)
        lowest = tf.gather(tf.math.unsorted_segment_min(rank, word, count), word)
        merges = (rank < _NONE) & ((rank == lowest) | ((left > rank) & (right >= rank)))
        # Of neighbours with the same rank every second one, from the left.
        heads = tf.concat([[True], rank[1:] != rank[:-1]], 0)
        head = tf.gather(tf.where(heads)[:, 0], tf.cumsum(tf.cast(heads, tf.int32)) - 1)
        merges &= (tf.range(tf.size(ids)) - tf.cast(head, tf.int32)) % 2 == 0

        made = tf.gather(self._made, tf.where(merges, rank, 0))
        symbols = tf.stack([tf.where(merges, made, ids), word, place], 1)
        kept = tf.where(~tf.concat([[False], merges[:-1]], 0))[:, 0]
        symbols = tf.gather(symbols, kept)
        return symbols, self._known(symbols)
