"""Extended grapheme clusters (Unicode Standard Annex 29) in the graph, by classes queried from the reference.

The ``Precompiled`` normaliser first treats clusters of at most five bytes as a whole. The queries use maps of a single
entry: the normaliser replaces a short cluster completely, so the rest of the text shows whether two code points are in
the same cluster. Regional indicators, and Hangul syllables of conjoining jamo, form clusters of six or more bytes,
which do not matter here.
"""

import base64
import functools
import json
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ..ragged import last_true, shifted
from ..tables import CODE_POINTS, scalars
from . import charsmap, reference
from .spec import Step

#: Bits of a code point's classes: joins the code point before it (GB9, GB9a); a control, which joins nothing (GB4,
#: GB5); joins the code point after it (GB9b); Extended_Pictographic and Extend (GB11); Indic consonant, linker, and
#: characters that may be between them (GB9c).
EXTENDS, CONTROL, PREPENDS, PICTOGRAPHIC, EXTEND, CONSONANT, LINKER, BETWEEN = (1 << at for at in range(8))
BITS = 8

_MARK, _OTHER_MARK = "\u0301", "\u0302"
_JOINER = "\u200d"
_APART = "\0"


@functools.cache
def classes() -> np.ndarray:
    """Classes of every code point, int32."""

    def ask(key: str, text: str, sample: Callable[[str], str], holds: Callable[[str], bool]) -> np.ndarray:
        """Code points whose sample, normalised with a map of one entry, fulfils a condition."""
        state = {
            "type": "Precompiled",
            "precompiled_charsmap": base64.b64encode(charsmap.write({key: text})).decode(),
        }
        normalizer = reference.normalizer([Step("Precompiled", json.dumps(state))])
        codes = scalars()[1:]
        made = normalizer.normalize_str(_APART.join(sample(chr(code)) for code in codes.tolist())).split(_APART)
        table = np.zeros(CODE_POINTS, bool)
        table[codes] = [holds(each) for each in made]
        return table

    def stays(text: str) -> bool:
        return text.endswith(_MARK)

    # A cluster of a pictograph or a consonant and a mark is short, unless it also contains the text before it.
    pictograph, consonant = "\u2122", "\u0958"
    extends = ask("x", "y", lambda char: "x" + char, lambda text: text == "y")
    control = ask(_MARK, "z", lambda char: char + _MARK + _OTHER_MARK, lambda text: not text.endswith(_OTHER_MARK))
    control[0] = True
    prepends = ask("x", "y", lambda char: f"{char}x{_MARK}", lambda text: text.endswith("y" + _MARK))
    pictographic = ask(pictograph, "t", lambda char: char + _JOINER + pictograph + _MARK, stays)
    extend = ask(pictograph, "t", lambda char: "\U0001f44d" + char + _JOINER + pictograph + _MARK, stays)
    consonants = ask(consonant, "t", lambda char: char + "\u094d" + consonant + _MARK, stays)
    linker = ask(consonant, "t", lambda char: "\u0915" + char + consonant + _MARK, stays)
    between = ask(consonant, "t", lambda char: "\u0915\u094d" + char + consonant + _MARK, stays)
    tables = {
        EXTENDS: extends, CONTROL: control, PREPENDS: prepends, PICTOGRAPHIC: pictographic,
        EXTEND: extend & ~pictographic, CONSONANT: consonants, LINKER: linker & ~prepends, BETWEEN: between & ~prepends,
    }  # fmt: skip
    return sum((table.astype(np.int32) * bit for bit, table in tables.items()), np.zeros(CODE_POINTS, np.int32))


def starts(codes: tf.Tensor, kinds: tf.Tensor, piece: tf.Tensor) -> tf.Tensor:
    """Whether each code point begins a cluster, bool ``[C]``, from code points, classes and pieces of text."""
    first = last_true(piece != shifted(piece, -1))

    def has(bit: int) -> tf.Tensor:
        return tf.bitwise.bitwise_and(kinds, bit) != 0

    def base(passed: tf.Tensor, back: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The last code point not passed over, at least ``back`` places before, and whether the piece is the same."""
        at = tf.concat([[-1] * back, last_true(~passed)], 0)[:-back]
        return tf.maximum(at, 0), at >= first

    joins = has(EXTENDS) & ~shifted(has(CONTROL), False) | shifted(has(PREPENDS), False) & ~has(CONTROL)
    joins |= (shifted(codes, 0) == 13) & (codes == 10)
    # A pictograph, extenders, a joiner, and a pictograph.
    before, inside = base(has(EXTEND), 2)
    joined = inside & tf.gather(has(PICTOGRAPHIC), before) & (shifted(codes, 0) == ord(_JOINER))
    joins |= has(PICTOGRAPHIC) & joined
    # A consonant, a linker with others around it, and a consonant.
    links = tf.cumsum(tf.cast(has(LINKER), tf.int32))
    before, inside = base(has(LINKER) | has(BETWEEN), 1)
    joined = inside & tf.gather(has(CONSONANT), before) & (shifted(links, 0) > tf.gather(links, before))
    joins |= has(CONSONANT) & joined
    return ~(joins & (piece == shifted(piece, -1)))
