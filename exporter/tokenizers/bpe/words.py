"""Texts to words by ByteLevel's pattern of GPT-2 (Radford et al., "Language Models are Unsupervised
Multitask Learners", encoder.py).

The pattern, one alternative per line; the first one that matches counts:

    's|'t|'re|'ve|'m|'ll|'d     a contraction
    ␣?\\p{L}+                    letters, with one blank before them
    ␣?\\p{N}+                    digits, likewise
    ␣?[^\\s\\p{L}\\p{N}]+          others, likewise
    \\s+(?!\\S)                  white space, without the last one before another character
    \\s+

Shape letters: C code points, P pieces of text.
"""

import tensorflow as tf

from ..characters import Characters
from ..lookup import Lookup
from ..ragged import spread
from ..tables import paged
from .behaviour import SPACE, classes

_BLANK, _APOSTROPHE = ord(" "), ord("'")


def with_blanks(characters: Characters, splits: tf.Tensor) -> tuple[Characters, tf.Tensor, tf.Tensor]:
    """Begin each piece of text with a blank, which gets the position of the character after it.

    Args:
        characters: ``[C]``.
        splits: int32 ``[P + 1]``, starts of the pieces; an added token is a piece, and gets no blank.

    Returns:
        The characters with blanks, the new starts of the pieces, and the original index of each character.
    """
    first = splits[:-1]
    lacks = (tf.gather(characters.codes, first) != _BLANK) & (tf.gather(characters.added, first) < 0)  # [P]
    counts = tf.tensor_scatter_nd_add(
        tf.ones_like(characters.codes), first[:, tf.newaxis], tf.cast(lacks, tf.int32)
    )  # [C]
    source, within = spread(counts)
    is_new = (tf.gather(counts, source) > 1) & (within == 0)
    characters = characters.at(source)
    moved = splits + tf.concat([[0], tf.cumsum(tf.cast(lacks, tf.int32))], 0)
    return characters._replace(codes=tf.where(is_new, _BLANK, characters.codes)), moved, source


#: Beside the class of a code point: a blank; an apostrophe; the letters of contractions, by their place in these.
_IS_BLANK, _IS_APOSTROPHE, _ONE, _TWO, _E, _L = (1 << at for at in range(2, 8))
_CLASS = 3
_LETTERS = {"stmd": _ONE, "rv": _TWO, "e": _E, "l": _L}


class WordStarts:
    """Finds the starts of GPT-2's words."""

    def __init__(self) -> None:
        kinds = classes().copy()
        kinds[_BLANK] |= _IS_BLANK
        kinds[_APOSTROPHE] |= _IS_APOSTROPHE
        for letters, flag in _LETTERS.items():
            kinds[[*map(ord, letters)]] |= flag
        self._kinds = Lookup(paged(kinds))

    def __call__(self, codes: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
        """Whether each code point begins a word.

        Args:
            codes: int32 ``[C]``.
            is_first: bool ``[C]``, whether a code point begins a piece of text; words do not cross pieces.
        """
        kinds = self._kinds(codes)
        kind = tf.bitwise.bitwise_and(kinds, _CLASS)
        space = kind == SPACE
        goes_on = ~_after(is_first, 1, True)  # the next one is of the same piece
        after_space = _before(space, 1)
        starts = tf.where(
            space,
            ~after_space | (goes_on & ~_after(space, 1)),
            tf.where(after_space, ~_before(_has(kinds, _IS_BLANK), 1), _before(kind, 1) != kind),
        )
        starts |= is_first

        # A contraction at the start of a word is a word of its own.
        opens = starts & _has(kinds, _IS_APOSTROPHE) & goes_on
        one, two = _after(kinds, 1), _after(kinds, 2)
        short = opens & _has(one, _ONE)
        ends = (_has(one, _TWO) & _has(two, _E)) | (_has(one, _L) & _has(two, _L))
        long = opens & _after(goes_on, 1) & ends
        starts = (starts & ~_before(short | long, 1)) | _before(short, 2) | _before(long, 3)
        return starts | is_first


def _has(kinds: tf.Tensor, flag: int) -> tf.Tensor:
    return tf.bitwise.bitwise_and(kinds, flag) != 0


def _before(values: tf.Tensor, distance: int) -> tf.Tensor:
    """The value ``distance`` places before each; zero if there is none."""
    return tf.concat([tf.zeros([distance], values.dtype), values], 0)[:-distance]


def _after(values: tf.Tensor, distance: int, last: bool | int = 0) -> tf.Tensor:
    """The value ``distance`` places after each; ``last`` if there is none."""
    return tf.concat([values, tf.cast(tf.fill([distance], last), values.dtype)], 0)[distance:]
