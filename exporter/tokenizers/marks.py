"""The combining marks that canonical ordering moves, as a table made by asking (The Unicode Standard, 3.11)."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .tables import CODE_POINTS, each

_Text = Callable[[str], str]

#: Combining marks of the lowest and of the highest combining class that there is.
_LOWEST, _HIGHEST = "\u0334", "\u0345"


@dataclass(frozen=True)
class MarkTable:
    """The code points that canonical ordering moves or must not move others across, and what they decompose to.

    Listed are the code points whose decomposition holds a combining mark, and those that normalisation removes
    after ordering. Any other that normalisation leaves stands for itself and ends a run of marks; any other that
    it removes is gone before.

    Attributes:
        codes: int32 ``[n]``, ascending.
        splits: int32 ``[n + 1]``, where each begins in ``items``.
        items: int32 ``[entries]``, code points of the decompositions.
        ranks: int32 ``[entries]``, order of their combining classes; 0 for what is no combining mark.
    """

    codes: np.ndarray
    splits: np.ndarray
    items: np.ndarray
    ranks: np.ndarray


def build(decompose: _Text, order: _Text, mark: str, removed: np.ndarray) -> MarkTable:
    """The table for canonical ordering.

    Args:
        decompose: decomposes a text.
        order: puts the marks of a text in order.
        mark: a character that stays as it is, and over which no marks are moved.
        removed: bool, by code point, what normalisation removes later.
    """
    codes, splits, items = each(decompose, mark)
    rank = ranks_of(items, order, mark)
    ranks, lengths = rank[items], np.diff(splits)
    # Of what the first step of normalisation removes nothing is left when marks are put in order.
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
        """For which code points the pair comes out the other way round."""
        chars = [chr(code) for code in codes]
        pairs = order(mark.join(left(char) + right(char) for char in chars)).split(mark)
        return np.array([pair == right(char) + left(char) for pair, char in zip(pairs, chars, strict=True)])

    # Only what has a combining class changes places with marks of a lower or a higher one.
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
