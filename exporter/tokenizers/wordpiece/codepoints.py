"""What normalisation and pre-tokenisation do to each single code point, as tables made by asking (:mod:`.behaviour`).

BERT's normalisation (clean-up, spaces around Chinese characters, NFD without nonspacing marks, lower case) maps
code points one by one, so asking for each of them gives the whole of it, free of any Unicode version or
case-folding rule but that of what is asked. Pre-tokenisation then looks at one code point at a time too: white
space parts words, punctuation is a word of its own.

One thing does look at neighbours: NFD puts combining marks into canonical order. Nearly all marks are removed
afterwards, so their order shows only where a mark stays. :class:`..marks.MarkTable` holds what those few cases need.
"""

from dataclasses import dataclass

import numpy as np

from .. import marks
from ..tables import CODE_POINTS, Pages, each, paged
from .behaviour import ISOLATED, WORD, BertBehaviour, TfTextBehaviour
from .spec import WordPieceSpec

#: Beside the classes of a code point after normalisation: it becomes none or several, see ``CodePointTable.many``.
MANY = 3
#: Set beside the class of a combining mark that normalisation may move, and does not remove.
STAYS = 4
#: Bits below the value of an entry.
SHIFT = 3

_BLANK = ord(" ")


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
    marks: marks.MarkTable | None


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
