"""Unigram (Kudo, 2018): of all ways to divide a word into pieces, the one with the best sum of scores.

The places between characters are the nodes of a graph, and each piece is an edge. The best paths are found by
relaxation (Bellman and Ford): each round extends the best paths of all words by one piece, until no sum gets better.
The sums are those of Viterbi's algorithm, which the reference uses, because here too each path is summed from left to
right. Text needs as many rounds as a word has pieces, which is much less than its characters.

Paths begin where words do. If all sums of scores are exact, which the export finds out, they also begin at every place
that no piece crosses. The text between two beginnings is a chunk.

Sums are float64, and of equal ones the path whose last piece begins first counts, as in the reference.

Shape letters: W words, N characters of all words, E pieces found, T tokens.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ..added import utf8_byte, utf8_length
from ..distinct import Tokens
from ..lookup import Lookup
from ..ragged import flags_at, shifted, spread, starts_of
from ..tables import CODE_POINTS, paged
from ..trie import Found, Walk, build
from . import reference
from .spec import UnigramSpec

#: Penalty of an unknown character relative to the worst piece (K_UNK_PENALTY of the reference).
_PENALTY = 10.0
#: Sums of multiples of 2 ** -27 are exact in float64 for words of half a million characters and scores down to -128.
_EXACT = 2.0**27
#: Long chunks are processed in blocks of this many characters, so that the time grows with their length only linearly.
_BLOCK = 256
#: Rounds in each iteration of a loop: for a few words, an iteration by itself takes as long as its rounds.
_ROUNDS = 3


class Pieces(NamedTuple):
    """Pieces of words, in order."""

    ids: tf.Tensor  # int32 [T], -1: no piece
    first: tf.Tensor  # int32 [T], first character
    last: tf.Tensor  # int32 [T], last character


class Segmenter:
    """Divides words into pieces."""

    def __init__(self, spec: UnigramSpec) -> None:
        pieces = {token: at for at, token in enumerate(spec.vocab) if token}
        alphabet = [ord(char) for char, _ in Counter(char for token in pieces for char in token).most_common()]
        symbols = np.zeros(CODE_POINTS, np.int32)
        symbols[alphabet] = np.arange(1, len(alphabet) + 1)
        self._symbols = Lookup(paged(symbols))
        # The value of a piece is its id + 1; that of an unknown character is 0.
        trie = build(
            {tuple(symbols[[*map(ord, token)]].tolist()): at + 1 for token, at in pieces.items()}, len(alphabet)
        )
        self._walk, self._depth = Walk(trie), trie.depth
        self._gap = chr(reference.filler(spec))
        scores = np.array([min(spec.scores) - _PENALTY, *spec.scores])
        short = scores.astype(np.float32)  # most files' scores are such numbers
        self._unk, self._scores = spec.unk_id, tf.constant(short if (short == scores).all() else scores)
        scaled = scores[1:] * _EXACT
        self._chunks = bool((scaled == np.rint(scaled)).all() and scores[0] > -128)
        self._bytes = _byte_ids(spec) if spec.byte_fallback else None

    def __call__(self, words: tf.Tensor) -> Tokens:
        """Tokens of words, UTF-8 ``[W]``, none of them empty."""
        # After each word there is a gap: a character that is in no piece.
        decoded = tf.strings.unicode_decode(tf.strings.join([words, self._gap]), "UTF-8")
        codes, splits = decoded.values, tf.cast(decoded.row_splits, tf.int32)  # [N], [W + 1]
        symbols = tf.concat([tf.cast(self._symbols(codes), tf.int64), [0] * self._depth], 0)
        found = self._walk(symbols, tf.size(codes))
        begins = flags_at(splits, tf.size(codes) + 1)
        pieces = self._fused(self._best(found, begins), begins, found)
        if self._bytes is not None:
            pieces = self._as_bytes(pieces, codes)
        word = tf.gather(tf.cumsum(tf.cast(begins, tf.int32)), pieces.first) - 1
        begin = tf.gather(splits, word)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(word), word, tf.size(words))
        return Tokens(pieces.ids, pieces.first - begin, pieces.last + 1 - begin, counts)

    def _best(self, found: Found, begins: tf.Tensor) -> Pieces:
        """The best paths of words and gaps.

        Args:
            found: all pieces that occur, and all single characters.
            begins: bool ``[N + 1]``, places where words begin, and the end.
        """
        places = tf.size(begins)
        score, end = tf.cast(tf.gather(self._scores, found.value), tf.float64), found.last + 1
        starts = begins
        if self._chunks:
            opens, closes = (
                tf.math.unsorted_segment_sum(tf.ones_like(end), at, places) for at in (found.first + 1, end)
            )
            starts = tf.cumsum(opens - closes) == 0
        chunk = tf.cumsum(tf.cast(starts, tf.int32)) - 1
        begin = tf.cast(tf.gather(tf.where(starts)[:, 0], chunk), tf.int32)
        offset = tf.range(places) - begin  # of places in their chunk
        longest = tf.reduce_max(offset) + 1
        base = tf.where(starts, tf.constant(0.0, tf.float64), -np.inf)
        to = tf.where(tf.gather(starts, end), -1, end)  # no path goes on from the end of a chunk
        sums = tf.cond(
            longest > _BLOCK,
            lambda: self._in_blocks(base, offset, longest, found.first, to, score),
            lambda: _relaxed(base, found.first, to, score),
        )

        # Of the pieces with the best sum to each place the longest one: the last in the list.
        sums = tf.gather(sums, found.first) + score
        is_best = sums == tf.gather(tf.math.unsorted_segment_max(sums, end, places), end)
        best = tf.math.unsorted_segment_max(tf.where(is_best, tf.range(tf.size(end)), 0), end, places)
        best = tf.maximum(best, 0)  # nothing leads to the first place
        last = tf.where(_on_path(tf.gather(found.first, best), starts, longest)[1:])[:, 0]
        piece = tf.gather(best, last + 1)
        return Pieces(tf.gather(found.value, piece) - 1, tf.gather(found.first, piece), tf.cast(last, tf.int32))

    def _in_blocks(
        self, base: tf.Tensor, offset: tf.Tensor, longest: tf.Tensor, first: tf.Tensor, to: tf.Tensor, score: tf.Tensor
    ) -> tf.Tensor:
        """The same as :func:`_relaxed`, in blocks of characters, so that the time of a long chunk is not its square."""
        block = tf.gather(offset, first) // _BLOCK

        def settle(number: tf.Tensor, base: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            at = tf.where(block == number)[:, 0]
            from_, to_, gain = (tf.gather(each, at) for each in (first, to, score))
            after = offset - number * _BLOCK
            near = tf.cast(tf.where((after >= 0) & (after < _BLOCK + self._depth))[:, 0], tf.int32)
            local = tf.where(to_ < 0, -1, tf.searchsorted(near, to_))
            sums = _relaxed(tf.gather(base, near), tf.searchsorted(near, from_), local, gain)
            return number + 1, tf.tensor_scatter_nd_update(base, near[:, tf.newaxis], sums)

        state = (0, base)
        _, sums = tf.while_loop(lambda number, _: number * _BLOCK < longest, settle, state, parallel_iterations=1)
        return sums

    def _fused(self, pieces: Pieces, begins: tf.Tensor, found: Found) -> Pieces:
        """Drop gaps, and fuse unknown tokens that follow each other in a word; the result may be a piece after all."""
        kept = tf.where(~tf.gather(begins, pieces.last + 1))[:, 0]
        pieces = Pieces(*(tf.gather(each, kept) for each in pieces))
        unknown = (pieces.ids < 0) | (pieces.ids == self._unk)
        follows = unknown & shifted(unknown, False) & ~tf.gather(begins, pieces.first)

        def fused() -> Pieces:
            head = tf.cast(tf.where(~follows)[:, 0], tf.int32)
            tail = tf.concat([head[1:], tf.shape(follows)], 0) - 1
            first, last = tf.gather(pieces.first, head), tf.gather(pieces.last, tail)
            # Pieces were found in the order of these numbers. No piece has more characters than ``depth``.
            known, sought = (
                tf.minimum(last - first, self._depth) * tf.size(begins) + first
                for first, last in (found[:2], (first, last))
            )
            at = tf.minimum(tf.searchsorted(known, sought), tf.size(known) - 1)
            of_run = tf.where(tf.gather(known, at) == sought, tf.gather(found.value, at) - 1, -1)
            return Pieces(of_run, first, last)

        pieces = tf.cond(tf.reduce_any(follows), fused, lambda: pieces)
        return (
            pieces if self._bytes is not None else pieces._replace(ids=tf.where(pieces.ids < 0, self._unk, pieces.ids))
        )

    def _as_bytes(self, pieces: Pieces, codes: tf.Tensor) -> Pieces:
        """Replace each unknown token by one token for each of its bytes, all with its position."""
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


def _relaxed(base: tf.Tensor, first: tf.Tensor, to: tf.Tensor, score: tf.Tensor) -> tf.Tensor:
    """The best sums to all places.

    Args:
        base: float64 ``[N + 1]``, sums to begin with.
        first: int32 ``[E]``, the place where each piece begins.
        to: int32 ``[E]``, the place where it ends; -1: left out.
        score: float64 ``[E]``.
    """

    def relax(base: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for _ in range(_ROUNDS):
            before = base
            base = tf.maximum(base, tf.math.unsorted_segment_max(tf.gather(base, first) + score, to, tf.size(base)))
        return base, tf.reduce_any(base != before)

    base, _ = tf.while_loop(lambda _, changed: changed, relax, (base, tf.constant(True)), parallel_iterations=1)
    return base


def _on_path(before: tf.Tensor, starts: tf.Tensor, longest: tf.Tensor) -> tf.Tensor:
    """Places on the best paths, bool ``[N + 1]`` (pointer doubling).

    Args:
        before: int32 ``[N + 1]``, the place where the last piece of the best path to each begins.
        starts: bool ``[N + 1]``, places where chunks begin: they are on the paths.
        longest: characters of the longest chunk.
    """

    def double(reached: tf.Tensor, before: tf.Tensor, on_path: tf.Tensor) -> tuple[tf.Tensor, ...]:
        for _ in range(_ROUNDS):
            on_path = tf.maximum(on_path, tf.math.unsorted_segment_max(on_path, before, tf.size(before)))
            before = tf.gather(before, before)
        return reached * 2**_ROUNDS, before, on_path

    state = (1, before, tf.cast(starts, tf.int32))
    _, _, on_path = tf.while_loop(lambda reached, *_: reached < longest, double, state, parallel_iterations=1)
    return on_path > 0


def _byte_ids(spec: UnigramSpec) -> tf.Tensor:
    ids = {token: at for at, token in enumerate(spec.vocab) if token}
    return tf.constant([ids[f"<0x{byte:02X}>"] for byte in range(256)], tf.int32)
