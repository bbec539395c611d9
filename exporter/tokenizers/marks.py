"""The combining marks that canonical ordering moves, as a table from queries (The Unicode Standard, 3.11)."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .tables import CODE_POINTS, each

_Text = Callable[[str], str]

#: Combining marks of the lowest and of the highest combining class.
_LOWEST, _HIGHEST = "\u0334", "\u0345"


@dataclass(frozen=True)
class MarkTable:
    """The code points that canonical ordering moves, or must not move others across, and their decompositions.

    The table lists code points whose decomposition contains a combining mark, and those that normalisation removes
    after ordering. Any other code point either stays unchanged and ends a run of marks, or is removed before
    ordering.

    Attributes:
        codes: int32 ``[n]``, ascending.
        splits: int32 ``[n + 1]``, start of each in ``items``.
        items: int32 ``[entries]``, code points of the decompositions.
        ranks: int32 ``[entries]``, order of their combining classes; 0 for other code points.
    """

    codes: np.ndarray
    splits: np.ndarray
    items: np.ndarray
    ranks: np.ndarray


def build(decompose: _Text, order: _Text, mark: str, removed: np.ndarray) -> MarkTable:
    """The table for canonical ordering.

    Args:
        decompose: function that decomposes a text.
        order: function that orders the marks of a text.
        mark: a character that stays unchanged, and that marks are not moved across.
        removed: bool, by code point: whether normalisation removes it later.
    """
    codes, splits, items = each(decompose, mark)
    rank = ranks_of(items, order, mark)
    ranks, lengths = rank[items], np.diff(splits)
    # Code points removed by the first step of normalisation are gone before the ordering.
    here = lengths > 0
    has_mark = np.zeros(len(codes), bool)
    has_mark[here] = np.add.reduceat(ranks > 0, splits[:-1][here]) > 0
    chosen = has_mark | (removed[codes] & here)
    of_chosen = np.repeat(chosen, lengths)
    return MarkTable(
        codes=codes[chosen],
        splits=np.cumsum([0, *lengths[chosen]], dtype=np.int32),
        items=items[of_chosen],
        ranks=ranks[of_chosen],
    )


def ranks_of(items: np.ndarray, order: _Text, mark: str) -> np.ndarray:
    """Order of the combining class of every code point in ``items``; int32, indexed by code point."""
    codes = np.unique(items)
    codes = codes[codes != ord(mark)]

    def swaps(left: _Text, right: _Text) -> np.ndarray:
        """Whether the pair of each code point is reversed by the ordering."""
        chars = [chr(code) for code in codes]
        pairs = order(mark.join(left(char) + right(char) for char in chars)).split(mark)
        return np.array([pair == right(char) + left(char) for pair, char in zip(pairs, chars, strict=True)])

    # Only code points with a combining class change places with marks of a lower or a higher class.
    moves = swaps(lambda char: _HIGHEST, lambda char: char) | swaps(lambda char: char, lambda char: _LOWEST)
    ordered = order("".join(map(chr, codes[moves])))  # by class, lowest first
    steps = order(mark.join(f"{char}{before}" for before, char in pairwise(ordered))).split(mark)
    rank = np.zeros(CODE_POINTS, np.int32)
    current = 1
    rank[ord(ordered[0])] = current
    for (before, char), step in zip(pairwise(ordered), steps, strict=True):
        current += step == before + char
        rank[ord(char)] = current
    return rank
