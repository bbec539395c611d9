"""Unicode's normalisation forms in the graph (The Unicode Standard, 3.11, D108 to D117).

Characters are decomposed, and marks put in canonical order; NFC and NFKC then compose. The tokenizers library, whose
Unicode is older than Python's, is queried for the decompositions, the order of marks, and the pairs that compose.

Positions: the library walks through the result and the text together. Each result consumes one character of the text
for each first part of a decomposition that it contains, and gets the position of the first of these characters. A
result that consumes none gets the position of the character before. So reordered marks do not keep their positions.

Shape letters: C code points before, E on the way and after.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tokenizers import normalizers

from . import marks
from .lookup import Lookup, Pairs
from .order import Order
from .ragged import last_true, shifted
from .replacements import Replacements
from .tables import CODE_POINTS, each, paged

_MARK = "\ue000"


def _normalize(form: str) -> Callable[[str], str]:
    normalize: Callable[[str], str] = getattr(normalizers, form)().normalize_str
    return normalize


class Tables(NamedTuple):
    """The library's tables of a form.

    Attributes:
        marks: for canonical ordering, with the code points that decompose to marks.
        texts: the decompositions of all other code points.
        kinds: int32 ``[CODE_POINTS]``, twice the rank of the combining class (0: no mark), plus 1 if the form changes
            the code point, or composes it with the one before.
    """

    marks: marks.MarkTable
    texts: dict[int, list[int]]
    kinds: np.ndarray


@functools.cache
def tables(name: str) -> Tables:
    """Query the library for a form."""
    decompose = _normalize(name.replace("C", "D"))
    codes, splits, items = each(decompose, _MARK)
    table = marks.build(decompose, decompose, _MARK, np.zeros(CODE_POINTS, bool))
    # Code points with marks are decomposed when the marks are put in order.
    apart = _changed(codes, splits, items)
    apart[table.codes] = False
    texts = {
        code: items[start:stop].tolist()
        for code, start, stop in zip(codes.tolist(), splits[:-1], splits[1:], strict=True)
        if apart[code]
    }
    ranks = np.zeros(CODE_POINTS, np.int32)
    ranks[table.items] = table.ranks
    changes = _changed(*each(_normalize(name), _MARK))
    if name.endswith("C"):
        changes[[second for _, second in pairs()]] = True
    return Tables(table, texts, 2 * ranks + changes)


class Form:
    """NFC, NFD, NFKC or NFKD."""

    def __init__(self, name: str) -> None:
        known = tables(name)
        self._order, self._replacements = Order(known.marks), Replacements(known.texts)
        self._kinds = Lookup(paged(known.kinds))
        self._compose = Compose() if name.endswith("C") else None

    def concerns(self, codes: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        """Whether some code points are not in this form, or may compose, bool; this is rare in texts.

        Args:
            codes: int32 ``[C]``.
            starts: bool ``[C]``, whether a code point begins a piece of text.
        """
        kinds = self._kinds(codes)
        rank = tf.bitwise.right_shift(kinds, 1)
        disorder = (rank > 0) & (shifted(rank, 0) > rank) & ~starts
        return tf.reduce_any(disorder | (tf.bitwise.bitwise_and(kinds, 1) > 0))

    def __call__(self, codes: tf.Tensor, piece: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Normalise.

        Args:
            codes: int32 ``[C]``.
            piece: int32 ``[C]``, index of the piece of text, ascending; pieces are normalised separately.
            fixed: not used: the placeholder of an added token is a piece, and does not change.

        Returns:
            Code points, and the index of the code point whose position each gets, int32 ``[E]``.
        """
        items, origin, is_first = self._order(codes, tf.zeros_like(codes, tf.bool), piece)
        items, source, within = self._replacements(items, self._replacements.look_up(items))
        origin = tf.gather(origin, source)
        if self._compose is None:
            return items, origin
        takes = tf.cast(tf.gather(is_first, source) & (within == 0), tf.int32)
        items, takes = self._compose(
            items, takes, tf.bitwise.right_shift(self._kinds(items), 1), tf.gather(piece, origin)
        )
        return items, tf.cumsum(takes, exclusive=True) - tf.cast(takes == 0, tf.int32)


def _changed(codes: np.ndarray, splits: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Whether each code point is changed, bool ``[CODE_POINTS]``."""
    table = np.zeros(CODE_POINTS, bool)
    table[codes] = (np.diff(splits) != 1) | (items[np.minimum(splits[:-1], len(items) - 1)] != codes)
    return table


@functools.cache
def pairs() -> dict[tuple[int, int], int]:
    """Pairs of code points that compose -> their composite (primary composites, D114)."""
    nfc, nfd = _normalize("NFC"), _normalize("NFD")
    stays, apart = ~_changed(*each(nfc, _MARK)), _changed(*each(nfd, _MARK))
    found = {}
    for code in np.flatnonzero(stays & apart).tolist():
        # It is composed of the last part, and the composite of all other parts.
        parts = nfd(chr(code))
        first = nfc(parts[:-1])
        if len(parts) > 1 and len(first) == 1 and nfc(first + parts[-1]) == chr(code):
            found[ord(first), ord(parts[-1])] = code
    # No character composes on both sides, so that the order of compositions does not matter.
    assert not {first for first, _ in found} & {second for _, second in found}
    return found


class Compose:
    """Canonical composition of decomposed and ordered text, in rounds (D117)."""

    def __init__(self) -> None:
        known, made = (np.array(list(each), np.int32) for each in (pairs(), pairs().values()))
        self._made = Pairs(known, made, -1, CODE_POINTS)

    def __call__(self, items: tf.Tensor, takes: tf.Tensor, rank: tf.Tensor, piece: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Compose code points ``[E]`` with their ranks and pieces.

        Returns:
            Code points, and the sum of ``takes`` of the parts of each.
        """
        columns, _ = tf.while_loop(
            lambda columns, goes_on: goes_on,
            lambda columns, goes_on: self._round(columns),
            (tf.stack([items, takes, rank, piece], 1), tf.constant(True)),
            shape_invariants=(tf.TensorShape([None, 4]), tf.TensorShape([])),
            parallel_iterations=1,
        )
        return columns[:, 0], columns[:, 1]

    def _round(self, columns: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Compose each character with the first mark after it that composes with it, or with the next character."""
        items, takes, rank, piece = tf.unstack(columns, axis=1)
        index = tf.range(tf.size(items))
        # The last character before each place that is no mark.
        host = shifted(last_true(rank == 0), -1)
        safe = tf.maximum(host, 0)
        made = self._made(tf.gather(items, safe), items)
        free = (host == index - 1) | (shifted(rank, 0) < rank)
        fits = (made >= 0) & (host >= 0) & (tf.gather(piece, safe) == piece) & free
        count = tf.cumsum(tf.cast(fits, tf.int32))
        chosen = tf.where(fits & (count - tf.gather(count, safe) == 1))[:, 0]
        at = tf.gather(safe, chosen)[:, tf.newaxis]
        items = tf.tensor_scatter_nd_update(items, at, tf.gather(made, chosen))
        takes = tf.tensor_scatter_nd_add(takes, at, tf.gather(takes, chosen))
        gone = tf.scatter_nd(chosen[:, tf.newaxis], tf.ones_like(chosen), tf.shape(items, tf.int64))
        kept = tf.where(gone == 0)[:, 0]
        return tf.gather(tf.stack([items, takes, rank, piece], 1), kept), tf.size(chosen) > 0
