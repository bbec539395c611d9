"""Normalisation and pre-tokenisation of every single code point, as tables from queries (:mod:`.behaviour`).

BERT's normalisation (clean-up, spaces around Chinese characters, NFD without nonspacing marks, lower case) maps
code points one by one. So a query for each of them describes it completely, with the Unicode version and the
case-folding rules of the reference. Pre-tokenisation also works on single code points: white space separates words,
punctuation is a word of its own.

Only one step depends on neighbours: NFD puts combining marks into canonical order. Nearly all marks are removed
afterwards, so their order matters only if a mark stays. :class:`..marks.MarkTable` covers those few cases.
"""

from dataclasses import dataclass

import numpy as np

from .. import marks
from ..tables import CODE_POINTS, Pages, each, paged
from .behaviour import ISOLATED, WORD, BertBehaviour, TfTextBehaviour
from .spec import WordPieceSpec

#: A further class of a code point: it becomes none or several, see ``CodePointTable.many``.
MANY = 3
#: Flag next to the class of a combining mark that normalisation may move, but does not remove.
STAYS = 4
#: Bits below the value of an entry.
SHIFT = 3

_BLANK = ord(" ")


@dataclass(frozen=True)
class CodePointTable:
    """A table over all code points.

    The value of a code point is ``value << SHIFT | stays | class``. Its first part is the distance to the replacement
    code point, so that most pages are equal; for ``MANY`` it is the row in ``many``.

    Attributes:
        values: values of all code points.
        many_splits: int32 ``[rows + 1]``, start of each row in ``many``; row 0 is empty.
        many: int32 ``[entries]``, ``code point << SHIFT | class``.
        marks: table for canonical ordering; ``None`` for settings without decomposition.
    """

    values: Pages
    many_splits: np.ndarray
    many: np.ndarray
    marks: marks.MarkTable | None


def build(spec: WordPieceSpec) -> CodePointTable:
    """Build the table from queries for every code point."""
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
    # Spaces around one (Chinese) character make it a word of its own. Only tokens that are searched in the normalised
    # text can see the difference.
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
    table = None
    if behaviour.orders:
        removed = np.zeros(CODE_POINTS, bool)
        removed[codes[lengths == 0]] = True
        table = marks.build(behaviour.decompose, behaviour.order, behaviour.mark, removed)
        stay = (table.ranks > 0) & ~removed[table.items]
        values[table.codes[np.add.reduceat(stay, table.splits[:-1]) > 0]] |= STAYS

    return CodePointTable(
        values=paged(values),
        many_splits=np.cumsum([0, *map(len, rows)], dtype=np.int32),
        many=np.array([value for entry in rows for value in entry] or [0], np.int32),
        marks=table,
    )
