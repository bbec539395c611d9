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
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ..added import utf8_byte, utf8_length
from ..lookup import Lookup
from ..ragged import last_true, lengths_of, shifted, spread, starts_of
from ..tables import CODE_POINTS, paged
from ..trie import Walk, build
from . import reference
from .spec import UnigramSpec

#: How much worse than the worst piece an unknown character is (K_UNK_PENALTY of the reference).
_PENALTY = 10.0
#: Sums of multiples of 2 ** -27 are exact in float64 for words of half a million characters and scores down to -128.
_EXACT = 2.0**27


class Tokens(NamedTuple):
    """Tokens of words, in order."""

    ids: tf.Tensor  # int32 [T]
    first: tf.Tensor  # int32 [T], first code point
    last: tf.Tensor  # int32 [T], last code point


class Segmenter:
    """Parts words into pieces."""

    def __init__(self, spec: UnigramSpec) -> None:
        pieces = {token: at for at, token in enumerate(spec.vocab) if token}
        alphabet = [ord(char) for char, _ in Counter(char for token in pieces for char in token).most_common()]
        symbols = np.zeros(CODE_POINTS, np.int32)
        symbols[alphabet] = np.arange(1, len(alphabet) + 1)
        self._symbols = Lookup(paged(symbols))
        trie = build({tuple(symbols[[*map(ord, token)]].tolist()): at for token, at in pieces.items()}, len(alphabet))
        self._walk, self._depth = Walk(trie), trie.depth
        self._whole = tf.constant(np.append(reference.whole(spec), False))  # -1 is the last one
        scores = np.array(spec.scores, np.float64)
        self._unk, self._unk_score = spec.unk_id, float(scores.min()) - _PENALTY
        self._scores = tf.constant(np.append(scores, -np.inf))
        scaled = scores * _EXACT
        self._chunks = bool((scaled == np.rint(scaled)).all() and self._unk_score > -128)
        self._bytes = _byte_ids(spec) if spec.byte_fallback else None

    def __call__(self, codes: tf.Tensor, splits: tf.Tensor, added: tf.Tensor) -> Tokens:
        """Part words.

        Args:
            codes: int32 ``[K]``, words end to end.
            splits: int32 ``[W + 1]``, where each begins.
            added: int32 ``[K]``, id of the added token in whose place a word of one code point is, -1: none.
        """
        count, lengths = tf.size(codes), lengths_of(splits)
        places = tf.range(count)
        symbols = tf.concat([self._symbols(codes), [0] * self._depth], 0)
        room = tf.repeat(splits[1:], lengths) - places  # to the end of the word
        sizes = tf.range(1, self._depth + 1)
        found = tf.where(sizes[:, tf.newaxis] <= room, self._walk(symbols, places), -1)  # [D, K]

        # Words that are a piece.
        first, last = splits[:-1], splits[1:] - 1
        piece = tf.gather(tf.reshape(found, [-1]), (tf.minimum(lengths, self._depth) - 1) * count + first)
        done = (lengths <= self._depth) & tf.gather(self._whole, _or_last(piece, self._whole))
        at = tf.cast(tf.reshape(tf.where(~tf.repeat(done, lengths)), [-1]), tf.int32)  # [N]
        starts = tf.scatter_nd(splits[:-1, tf.newaxis], tf.ones_like(first), tf.shape(codes)) > 0
        ids, begins, ends = tf.cond(
            tf.size(at) > 0,
            lambda: self._best(tf.gather(found, at, axis=1), tf.gather(starts, at)),
            lambda: (at, at, at),
        )

        # Both, in the order of the text.
        own = tf.boolean_mask(tf.stack([last, piece, first]), done, axis=1)
        others = tf.stack([tf.gather(at, ends), ids, tf.gather(at, begins)])
        last, ids, first = tf.unstack(tf.concat([own, others], 1))
        order = tf.argsort(last)
        tokens = self._fused(Tokens(*(tf.gather(each, order) for each in (ids, first, last))), starts, found)
        added = tf.gather(added, tokens.first)
        tokens = tokens._replace(ids=tf.where(added < 0, tokens.ids, added))
        return tokens if self._bytes is None else self._as_bytes(tokens, codes)

    def _best(self, found: tf.Tensor, starts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The best paths.

        Args:
            found: int32 ``[D, N]``, the piece of 1, 2 ... characters that begins at each, -1: none.
            starts: bool ``[N]``, where words begin.

        Returns:
            Ids, first and last places of the pieces.
        """
        depth, count = self._depth, tf.size(starts)
        places = tf.range(count)
        if self._chunks:
            # The longest piece that begins at each place crosses those up to its end.
            longest = tf.reduce_max(tf.where(found >= 0, tf.range(depth)[:, tf.newaxis], 0), 0)
            opens = tf.ones_like(places)
            closed = tf.math.unsorted_segment_sum(opens, places + longest + 1, count + 1)[:-1]
            starts |= tf.cumsum(shifted(opens, 0) - closed) <= 0
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
        place = tf.math.invert_permutation(row)  # of each row

        # What a piece that ends at a row's place adds: the longest one, which begins first, in column 0.
        back = tf.range(depth - 1, -1, -1)
        start = place[:, tf.newaxis] - back
        flat = tf.where(start >= 0, back * count + start, 0)
        pieces = tf.where(start >= 0, tf.gather(tf.reshape(found, [-1]), flat), -1)  # [N, D]
        scores = tf.gather(self._scores, _or_last(pieces, self._scores))
        unknown = tf.where(pieces[:, -1:] < 0, tf.constant(self._unk_score, tf.float64), scores[:, -1:])
        scores = tf.concat([scores[:, :-1], unknown], 1)

        def step(at: tf.Tensor, sums: tf.Tensor, chosen: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
            rows = offset[at + 1] - offset[at]
            sums = sums[:rows]
            with_piece = sums + scores[offset[at] : offset[at + 1]]
            chosen = chosen.write(at, tf.argmax(with_piece, 1, tf.int32))
            return at + 1, tf.concat([sums[:, 1:], tf.reduce_max(with_piece, 1, keepdims=True)], 1), chosen

        # Of the D places before each: the sum of the best path that ends there.
        nothing = tf.fill([tf.size(begin), depth - 1], tf.constant(-np.inf, tf.float64))
        sums = tf.concat([nothing, tf.zeros([tf.size(begin), 1], tf.float64)], 1)
        chosen = tf.TensorArray(tf.int32, steps, infer_shape=False, element_shape=[None])
        _, _, chosen = tf.while_loop(
            lambda at, *_: at < steps,
            step,
            (0, sums, chosen),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, depth]), tf.TensorShape(None)),
            parallel_iterations=1,
        )
        column = tf.gather(tf.ensure_shape(chosen.concat(), [None]), row)  # of each place
        size = depth - column
        ids = tf.gather(tf.reshape(pieces, [-1]), row * depth + column)
        on_path = self._path(places - size, starts, steps)
        ends = tf.cast(tf.reshape(tf.where(on_path), [-1]), tf.int32)
        ids, size = tf.gather(ids, ends), tf.gather(size, ends)
        return tf.where(ids < 0, self._unk, ids), ends - size + 1, ends

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
            found = tf.where(on_path, before, count)
            on_path = tf.tensor_scatter_nd_update(on_path, found[:, tf.newaxis], tf.ones_like(on_path))
            return reached * 2, tf.gather(before, before), on_path

        _, _, on_path = tf.while_loop(lambda reached, *_: reached < steps, double, (1, before, on_path))
        return on_path[:count]

    def _fused(self, tokens: Tokens, starts: tf.Tensor, found: tf.Tensor) -> Tokens:
        """Unknown tokens that follow each other in a word are one, and that one may be a piece."""
        unknown = tokens.ids == self._unk
        follows = unknown & shifted(unknown, False) & ~tf.gather(starts, tokens.first)
        head = tf.cast(tf.reshape(tf.where(~follows), [-1]), tf.int32)
        tail = tf.concat([head[1:], tf.shape(follows)], 0)[: tf.size(head)] - 1
        first, last = tf.gather(tokens.first, head), tf.gather(tokens.last, tail)
        size = last - first
        piece = tf.gather(tf.reshape(found, [-1]), tf.minimum(size, self._depth - 1) * tf.size(starts) + first)
        known = (size < self._depth) & (piece >= 0)
        return Tokens(tf.where(known, piece, self._unk if self._bytes is None else -1), first, last)

    def _as_bytes(self, tokens: Tokens, codes: tf.Tensor) -> Tokens:
        """A token a byte in place of what is no piece, each with the place of them all."""
        length = utf8_length(codes)
        starts = starts_of(length)
        begin, end = tf.gather(starts, tokens.first), tf.gather(starts, tokens.last + 1)
        unknown = tokens.ids < 0
        source, within = spread(tf.where(unknown, end - begin, 1))
        unknown, byte = tf.gather(unknown, source), tf.gather(begin, source) + within
        code, at = spread(length)
        value = utf8_byte(tf.gather(codes, code), tf.gather(length, code), at)
        ids = tf.where(unknown, tf.gather(self._bytes, tf.gather(value, byte)), tf.gather(tokens.ids, source))
        return Tokens(ids, tf.gather(tokens.first, source), tf.gather(tokens.last, source))


def _byte_ids(spec: UnigramSpec) -> tf.Tensor:
    ids = {token: at for at, token in enumerate(spec.vocab) if token}
    return tf.constant([ids[f"<0x{byte:02X}>"] for byte in range(256)], tf.int32)


def _or_last(index: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The index, and that of the last value in place of -1."""
    return tf.where(index < 0, tf.size(values) - 1, index)
