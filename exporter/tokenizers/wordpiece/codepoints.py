"""What normalisation and pre-tokenisation do to each single code point, as tables made by asking (:mod:`.behaviour`).

BERT's normalisation (clean-up, spaces around Chinese characters, NFD without nonspacing marks, lower case) maps
code points one by one, so asking for each of them gives the whole of it, free of any Unicode version or
case-folding rule but that of what is asked. Pre-tokenisation then looks at one code point at a time too: white
space parts words, punctuation is a word of its own.

One thing does look at neighbours: NFD puts combining marks into canonical order. Nearly all marks are removed
afterwards, so their order shows only where a mark stays. :class:`MarkTable` holds what those few cases need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..tables import CODE_POINTS, Pages, each, paged
from .behaviour import ISOLATED, WORD, BertBehaviour, TfTextBehaviour
from .spec import WordPieceSpec

_Behaviour = BertBehaviour | TfTextBehaviour

#: Beside the classes of a code point after normalisation: it becomes none or several, see ``CodePointTable.many``.
MANY = 3
#: Set beside the class of a combining mark that normalisation may move, and does not remove.
STAYS = 4
#: Bits below the value of an entry.
SHIFT = 3

_BLANK = ord(" ")
#: Combining marks of the lowest and of the highest combining class that there is.
_LOWEST, _HIGHEST = "\u0334", "\u0345"


@dataclass(frozen=True)
class CodePointTable:
    """A table over all code points.

    The value of a code point is ``value << SHIFT | stays | class``. The first is the distance to the code point that
    replaces it, so that most pages are alike; for ``MANY`` it is the row in ``many``.

    Attributes:
        values: of every code point.
        many_splits: int32 ``[rows + 1]``, where each row begins in ``many``; row 0 is empty.
        many: int32 ``[entries]``, ``code point << SHIFT | class``.
        marks: for canonical ordering; ``None`` where these settings do not decompose.
    """

    values: Pages
    many_splits: np.ndarray
    many: np.ndarray
    marks: MarkTable | None


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


def build(spec: WordPieceSpec) -> CodePointTable:
    """Ask what is imitated for every code point."""
    behaviour = TfTextBehaviour(spec) if spec.style == "tf-text" else BertBehaviour(spec)
    codes, splits, mapped = each(behaviour.normalize, behaviour.mark)
    starts, lengths = splits[:-1], np.diff(splits)
    classes = np.full(CODE_POINTS, WORD, np.int32)
    present = np.unique(mapped)
    classes[present] = behaviour.classify([chr(code) for code in present])

    values = np.full(CODE_POINTS, MANY, np.int32)  # row 0 of many: removed
    single = lengths == 1
    target = mapped[starts[single]]
    values[codes[single]] = (target - codes[single]) << SHIFT | classes[target]
    # Spaces around one character (a Chinese one): a word of its own. Only tokens that are looked for in the
    # normalised text can tell the difference.
    padded = (lengths == 3) & (not any(token.normalized for token in spec.added_tokens))
    first, middle, last = (mapped[starts[padded] + at] for at in range(3))
    spaced = (first == _BLANK) & (last == _BLANK) & (middle != _BLANK)
    padded[padded] = spaced
    values[codes[padded]] = (middle[spaced] - codes[padded]) << SHIFT | ISOLATED
    rows: dict[tuple[int, ...], int] = {(): 0}
    for at in np.flatnonzero((lengths > 1) & ~padded):
        parts = mapped[splits[at] : splits[at + 1]]
        entry = tuple((parts << SHIFT | classes[parts]).tolist())
        values[codes[at]] = rows.setdefault(entry, len(rows)) << SHIFT | MANY
    marks = None
    if behaviour.orders:
        removed = np.zeros(CODE_POINTS, bool)
        removed[codes[lengths == 0]] = True
        marks = _marks(behaviour, removed)
        stay = (marks.ranks > 0) & ~removed[marks.items]
        values[marks.codes[np.add.reduceat(stay, marks.splits[:-1]) > 0]] |= STAYS

    return CodePointTable(
        values=paged(values),
        many_splits=np.cumsum([0, *map(len, rows)], dtype=np.int32),
        many=np.array([value for entry in rows for value in entry] or [0], np.int32),
        marks=marks,
    )


def _marks(behaviour: _Behaviour, removed: np.ndarray) -> MarkTable:
    """The table for canonical ordering; ``removed``: bool, by code point, what normalisation removes."""
    codes, splits, items = each(behaviour.decompose, behaviour.mark)
    rank = _ranks(items, behaviour)
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


def _ranks(items: np.ndarray, behaviour: _Behaviour) -> np.ndarray:
    """Order of the combining class of every code point in ``items``; int32, indexed by code point."""
    order, mark = behaviour.order, behaviour.mark
    codes = np.unique(items)
    codes = codes[codes != ord(mark)]

    def swaps(left: Callable[[str], str], right: Callable[[str], str]) -> np.ndarray:
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
