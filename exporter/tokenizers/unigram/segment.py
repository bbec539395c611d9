"""Unigram (Kudo, 2018): of all ways to part a word into pieces, the one with the best sum of scores.

A word that is a piece, and has no better path, is done at once; the export asks the reference which pieces these are.
The others go through the algorithm of Viterbi, all of them together: step t takes character t of every chunk.
A chunk is the text between two places that no piece crosses. To sum in chunks gives the same only if sums of scores
are exact, which the export finds out; else a chunk is a whole word.

Sums are float64, and of equal ones the path whose last piece begins first counts, as in the reference.

Shape letters: K code points of all words, W words, N code points of the words that are parted, D characters of the
longest piece, T tokens.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ..added import utf8_byte, utf8_length
from ..distinct import Tokens
from ..lookup import Lookup
from ..ragged import last_at_most, last_true, lengths_of, shifted, spread, starts_of
from ..tables import CODE_POINTS, paged
from ..trie import Found, Walk, build
from . import reference
from .spec import UnigramSpec

#: Penalty of an unknown character relative to the worst piece (K_UNK_PENALTY of the reference).
_PENALTY = 10.0
#: Sums of multiples of 2 ** -27 are exact in float64 for words of half a million characters and scores down to -128.
_EXACT = 2.0**27


class Pieces(NamedTuple):
    """Pieces of words, in order."""

    ids: tf.Tensor  # int32 [T]
    first: tf.Tensor  # int32 [T], first code point of all
    last: tf.Tensor  # int32 [T], last code point of all


#: Takes the first and the last place of some characters, int32, and returns the piece that they are.
PieceOf = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Segmenter:
    """Divides words into pieces."""

    def __init__(self, spec: UnigramSpec) -> None:
        pieces = {token: at for at, token in enumerate(spec.vocab) if token}
        alphabet = [ord(char) for char, _ in Counter(char for token in pieces for char in token).most_common()]
        symbols = np.zeros(CODE_POINTS, np.int32)
        symbols[alphabet] = np.arange(1, len(alphabet) + 1)
        self._symbols = Lookup(paged(symbols))
        trie = build({tuple(symbols[[*map(ord, token)]].tolist()): at for token, at in pieces.items()}, len(alphabet))
        self._walk, self._depth = Walk(trie), trie.depth
        self._gap = chr(reference.filler(spec))
        scores = np.array(spec.scores, np.float64)
        self._unk, self._unk_score = spec.unk_id, float(scores.min()) - _PENALTY
        self._scores = tf.constant(scores)
        scaled = scores * _EXACT
        self._chunks = bool((scaled == np.rint(scaled)).all() and self._unk_score > -128)
        self._bytes = _byte_ids(spec) if spec.byte_fallback else None

    def __call__(self, words: tf.Tensor) -> Tokens:
        """Tokens of words, UTF-8 ``[W]``, none of them empty."""
        # After each word there is a character that is in no piece: a gap, which no piece crosses.
        decoded = tf.strings.unicode_decode(tf.strings.join([words, self._gap]), "UTF-8")
        codes, splits = decoded.values, tf.cast(decoded.row_splits, tf.int32)  # [N], [W + 1]
        count, gaps = tf.size(codes), splits[1:, tf.newaxis] - 1
        is_gap = tf.tensor_scatter_nd_update(tf.zeros_like(codes, tf.bool), gaps, tf.ones_like(splits[1:], tf.bool))
        symbols = tf.concat([self._symbols(codes), [0] * self._depth], 0)
        found = self._walk(symbols, count)
        pieces, piece_of = self._best(found, count, is_gap | shifted(is_gap, True))
        pieces = self._fused(pieces, is_gap, piece_of)
        if self._bytes is not None:
            pieces = self._as_bytes(pieces, codes)
        word = last_at_most(splits, pieces.first)
        begin = tf.gather(splits, word)
        return Tokens(
            pieces.ids,
            pieces.first - begin,
            pieces.last + 1 - begin,
            lengths_of(tf.searchsorted(pieces.first, splits)),
        )

    def _best(self, found: Found, count: tf.Tensor, starts: tf.Tensor) -> tuple[Pieces, PieceOf]:
        """The best paths.

        Args:
            found: all pieces that there are.
            count: N.
            starts: bool ``[N]``, where words and gaps begin.

        Returns:
            The pieces on the best paths, and a function that looks up pieces; ids are -1 where there is none.
        """
        depth, places = self._depth, tf.range(count)
        if self._chunks:
            # A piece crosses the places after its first one, up to its last one.
            crosses = tf.boolean_mask(tf.stack([found.start + 1, found.start + found.size]), found.size > 1, axis=1)
            opens, closes = (
                tf.math.unsorted_segment_sum(tf.ones_like(each), each, count + 1) for each in tf.unstack(crosses)
            )
            starts = tf.cumsum(opens - closes)[:-1] <= 0
        begin = tf.cast(tf.reshape(tf.where(starts), [-1]), tf.int32)  # [chunks]
        lengths = lengths_of(tf.concat([begin, [count]], 0))
        chunk = tf.cumsum(tf.cast(starts, tf.int32)) - 1
        # Longest first, so that the chunks that have a character t are the first ones: ``alive[t]`` of them.
        order = tf.argsort(lengths, direction="DESCENDING", stable=True)
        steps = tf.reduce_max(tf.concat([lengths, [0]], 0))
        alive = tf.cumsum(tf.math.bincount(lengths - 1, minlength=steps, maxlength=steps), reverse=True)
        offset = starts_of(alive)
        rank = tf.math.invert_permutation(order)
        row = tf.gather(offset, places - tf.gather(begin, chunk)) + tf.gather(rank, chunk)  # of each place

        # Of each row the pieces that end at its place: the longest one, which begins first, in column 0.
        last = found.start + found.size - 1
        at = (tf.gather(row, last) * depth + depth - found.size)[:, tf.newaxis]
        ids = tf.tensor_scatter_nd_update(tf.fill([count * depth], -1), at, found.value)
        nothing = tf.tile(tf.constant([-np.inf] * (depth - 1) + [self._unk_score], tf.float64), [count])
        scores = tf.tensor_scatter_nd_update(nothing, at, tf.gather(self._scores, found.value))
        scores = tf.reshape(scores, [-1, depth])

        def step(at: tf.Tensor, sums: tf.Tensor, chosen: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
            rows = offset[at + 1] - offset[at]
            with_piece = sums[:rows] + scores[offset[at] : offset[at + 1]]
            chosen = chosen.write(at, tf.argmax(with_piece, 1, tf.int32))
            best = tf.reduce_max(with_piece, 1, keepdims=True)
            return at + 1, tf.concat([sums[:rows][:, 1:], best], 1), chosen

        # Of the D places before each: the sum of the best path that ends there.
        sums = tf.tile(tf.constant([[-np.inf] * (depth - 1) + [0.0]], tf.float64), [tf.size(begin), 1])
        chosen = tf.TensorArray(tf.int32, steps, infer_shape=False, element_shape=[None])
        _, _, chosen = tf.while_loop(
            lambda at, *_: at < steps,
            step,
            (0, sums, chosen),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, depth]), tf.TensorShape(None)),
            parallel_iterations=1,
        )
        column = tf.gather(tf.ensure_shape(chosen.concat(), [None]), row)  # of each place
        on_path = self._path(places - depth + column, starts, steps)
        last = tf.cast(tf.reshape(tf.where(on_path), [-1]), tf.int32)
        first = last - depth + 1 + tf.gather(column, last)

        def piece_of(first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
            column = depth - 1 - (last - first)
            return tf.where(column < 0, -1, tf.gather(ids, tf.gather(row, last) * depth + tf.maximum(column, 0)))

        return Pieces(piece_of(first, last), first, last), piece_of

    @staticmethod
    def _path(before: tf.Tensor, starts: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        """Where pieces on the best path of a chunk end: at its end, and before each of them (pointer doubling).

        Args:
            before: int32 ``[N]``, the place before the best piece that ends at each.
            starts: bool ``[N]``, where chunks begin.
            steps: characters of the longest chunk.
        """
        count = tf.size(before)
        begin = last_true(starts)
        before = tf.concat([tf.where(before < begin, count, before), [count]], 0)  # the last place stands for none
        on_path = tf.concat([starts[1:], [True, False]], 0)[-count - 1 :]

        def double(reached: tf.Tensor, before: tf.Tensor, on_path: tf.Tensor) -> tuple[tf.Tensor, ...]:
            found = tf.boolean_mask(before, on_path)[:, tf.newaxis]
            on_path = tf.tensor_scatter_nd_update(on_path, found, tf.ones_like(found[:, 0], tf.bool))
            return reached * 2, tf.gather(before, before), on_path

        _, _, on_path = tf.while_loop(lambda reached, *_: reached < steps, double, (1, before, on_path))
        return on_path[:count]

    def _fused(self, pieces: Pieces, is_gap: tf.Tensor, piece_of: PieceOf) -> Pieces:
        """Gaps are left out; unknown tokens that follow each other in a word are one, and that one may be a piece."""
        gap = tf.gather(is_gap, pieces.last)
        unknown = ((pieces.ids < 0) | (pieces.ids == self._unk)) & ~gap
        follows = unknown & shifted(unknown, False)
        head = tf.cast(tf.reshape(tf.where(~follows), [-1]), tf.int32)
        tail = tf.concat([head[1:], tf.shape(follows)], 0)[: tf.size(head)] - 1
        words = tf.reshape(tf.where(~tf.gather(gap, head)), [-1])
        head, tail = tf.gather(head, words), tf.gather(tail, words)
        first, last = tf.gather(pieces.first, head), tf.gather(pieces.last, tail)
        ids = piece_of(first, last)
        return Pieces(tf.where(ids < 0, self._unk if self._bytes is None else -1, ids), first, last)

    def _as_bytes(self, pieces: Pieces, codes: tf.Tensor) -> Pieces:
        """A token a byte in place of what is no piece, each with the place of them all."""
        length = utf8_length(codes)
        starts = starts_of(length)
        begin, end = tf.gather(starts, pieces.first), tf.gather(starts, pieces.last + 1)
        unknown = pieces.ids < 0
        source, within = spread(tf.where(unknown, end - begin, 1))
        unknown, byte = tf.gather(unknown, source), tf.gather(begin, source) + within
        code, at = spread(length)
        value = utf8_byte(tf.gather(codes, code), tf.gather(length, code), at)
        ids = tf.where(unknown, tf.gather(self._bytes, tf.gather(value, byte)), tf.gather(pieces.ids, source))
        return Pieces(ids, tf.gather(pieces.first, source), tf.gather(pieces.last, source))


def _byte_ids(spec: UnigramSpec) -> tf.Tensor:
    ids = {token: at for at, token in enumerate(spec.vocab) if token}
    return tf.constant([ids[f"<0x{byte:02X}>"] for byte in range(256)], tf.int32)
