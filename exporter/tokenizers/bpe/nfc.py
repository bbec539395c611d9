"""Unicode's normal form C in the graph: decomposed, marks in canonical order, and composed again (The Unicode Standard,
3.11, D108 to D117).

Most texts are in that form; then nothing is done. What each character becomes, the order of marks and the pairs that
compose are asked of the reference, whose version of Unicode is older than Python's.

Places: the reference goes through the result and the text at once. Each result takes as many characters of the text as
went into it first parts of decompositions, and has the place of the first one that it takes; one that takes none has
the place of the character before. So where marks change places, their places in the text do not go with them.

Shape letters: C code points before, E code points on the way and after.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tokenizers import normalizers

from ..lookup import Lookup
from ..marks import ranks_of
from ..ragged import spread
from ..tables import CODE_POINTS, flags, paged, scalars
from .pairs import PairTable

_MARK = "#"  # parts everything: it composes with nothing, and nothing is made of it


class Tables(NamedTuple):
    """What normal form C needs to know.

    Attributes:
        splits: int32 ``[listed + 1]``, where the decomposition of each character begins in ``items``.
        items: int32, decompositions.
        row: int32 ``[CODE_POINTS]``, of those that decompose; -1 of the others.
        rank: int32 ``[CODE_POINTS]``, order of combining classes; 0 for what is no mark.
        changes: bool ``[CODE_POINTS]``, what does not stay as it is, or may compose with what is before it.
        pairs: int32 ``[n, 2]``, characters that compose.
        made: int32 ``[n]``, what they become.
    """

    splits: np.ndarray
    items: np.ndarray
    row: np.ndarray
    rank: np.ndarray
    changes: np.ndarray
    pairs: np.ndarray
    made: np.ndarray


@functools.cache
def tables() -> Tables:
    """Ask the reference."""
    nfc, nfd = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    each = [chr(code) for code in scalars()]

    def ask(normalize, texts: list[str]) -> list[str]:  # type: ignore[no-untyped-def]
        joined = [text for text in texts if text != _MARK]
        answers = iter(normalize(_MARK.join(joined)).split(_MARK))
        return [text if text == _MARK else next(answers) for text in texts]

    apart = dict(zip(each, ask(nfd, each), strict=True))
    again = dict(zip(each, ask(nfc, each), strict=True))
    # A character that stays as it is and comes apart is made of all parts but the last, which compose, and the last.
    made = {char: parts for char, parts in apart.items() if parts != char and again[char] == char}
    firsts = dict(zip(made, ask(nfc, [parts[:-1] for parts in made.values()]), strict=True))
    pairs = {(firsts[char], parts[-1]): char for char, parts in made.items() if len(firsts[char]) == 1}
    assert len(pairs) == len(made)
    assert ask(nfc, [one + other for one, other in pairs]) == list(pairs.values())
    seconds = {other for _, other in pairs}
    # Which of two neighbours composes first is clear where no character does so on both sides.
    assert not seconds & {one for one, _ in pairs}

    rank = ranks_of(np.array([ord(char) for char in each if apart[char] == char]), nfd, _MARK)

    listed = [char for char, parts in apart.items() if parts != char]
    row = np.full(CODE_POINTS, -1, np.int32)
    row[[ord(char) for char in listed]] = np.arange(len(listed))
    return Tables(
        splits=np.cumsum([0, *(len(apart[char]) for char in listed)], dtype=np.int32),
        items=np.array([ord(part) for char in listed for part in apart[char]], np.int32),
        row=row,
        rank=rank,
        changes=flags(ord(char) for char in each if again[char] != char or char in seconds),
        pairs=np.array([(ord(one), ord(other)) for one, other in pairs], np.int32),
        made=np.array([ord(char) for char in pairs.values()], np.int32),
    )


class Nfc:
    """Puts texts into normal form C."""

    def __init__(self) -> None:
        known = tables()
        self._rank, self._row = Lookup(paged(known.rank)), Lookup(paged(known.row))
        self._changes = Lookup(paged(known.changes))
        self._splits, self._items = tf.constant(known.splits), tf.constant(known.items)
        self._find = PairTable(known.pairs, CODE_POINTS)
        self._made = tf.constant(np.append(known.made[self._find.order], np.int32(-1)))

    def __call__(self, codes: tf.Tensor, is_first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Normalise.

        Args:
            codes: int32 ``[C]``.
            is_first: bool ``[C]``, which begin a piece of text: those are normalised by themselves.

        Returns:
            Code points, and the index of the code point whose place each has, int32 ``[E]``.
        """
        rank = self._rank(codes)
        disorder = (rank[1:] > 0) & (rank[:-1] > rank[1:]) & ~is_first[1:]
        changes = tf.reduce_any(disorder) | tf.reduce_any(self._changes(codes) > 0)
        return tf.cond(changes, lambda: self._normalized(codes, is_first), lambda: (codes, tf.range(tf.size(codes))))

    def _normalized(self, codes: tf.Tensor, is_first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        row = self._row(codes)
        begins = tf.gather(self._splits, tf.maximum(row, 0))
        lengths = tf.where(row < 0, 1, tf.gather(self._splits, tf.maximum(row, 0) + 1) - begins)
        source, within = spread(lengths)
        item = tf.gather(self._items, tf.where(tf.gather(row, source) < 0, 0, tf.gather(begins, source) + within))
        items = tf.where(tf.gather(row, source) < 0, tf.gather(codes, source), item)
        is_first = tf.gather(is_first, source) & (within == 0)
        # A run: something that is no mark, and the marks after it.
        rank = self._rank(items)
        run = tf.cumsum(tf.cast((rank == 0) | is_first, tf.int64))
        order = tf.argsort(run * 256 + tf.cast(rank, tf.int64), stable=True)
        items, rank, within = (tf.gather(each, order) for each in (items, rank, within))
        piece = tf.cumsum(tf.cast(is_first, tf.int32))
        takes = tf.cast(within == 0, tf.int32)
        columns = tf.stack([items, takes, rank, piece], 1)  # [E, 4]
        columns, _ = tf.while_loop(
            lambda columns, goes_on: goes_on,
            lambda columns, goes_on: self._composed(columns),
            (columns, tf.constant(True)),
            shape_invariants=(tf.TensorShape([None, 4]), tf.TensorShape([])),
            parallel_iterations=1,
        )
        items, takes = columns[:, 0], columns[:, 1]
        place = tf.cumsum(takes, exclusive=True) - tf.cast(takes == 0, tf.int32)
        return items, place

    def _composed(self, columns: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Compose each character with the first of the marks after it that it composes with, or with the next one."""
        items, takes, rank, piece = tf.unstack(columns, axis=1)
        index = tf.range(tf.size(items))
        # The last character before each that is no mark.
        starters = tf.concat([[-1], tf.cast(tf.where(rank == 0)[:, 0], tf.int32)], 0)
        number = tf.cumsum(tf.cast(rank == 0, tf.int32), exclusive=True)
        host = tf.gather(starters, number)
        safe = tf.maximum(host, 0)
        made = tf.gather(self._made, self._find(tf.gather(items, safe), items))
        before = tf.concat([[0], rank[:-1]], 0)[: tf.size(rank)]
        free = (host == index - 1) | (before < rank)
        fits = (made >= 0) & (host >= 0) & (tf.gather(piece, safe) == piece) & free
        count = tf.cumsum(tf.cast(fits, tf.int32))
        chosen = tf.where(fits & (count - tf.gather(count, safe) == 1))[:, 0]
        at = tf.gather(safe, chosen)[:, tf.newaxis]
        items = tf.tensor_scatter_nd_update(items, at, tf.gather(made, chosen))
        takes = tf.tensor_scatter_nd_add(takes, at, tf.gather(takes, chosen))
        gone = tf.scatter_nd(chosen[:, tf.newaxis], tf.ones_like(chosen), [tf.size(index, tf.int64)])
        kept = tf.where(gone == 0)[:, 0]
        return tf.gather(tf.stack([items, takes, rank, piece], 1), kept), tf.size(chosen) > 0
