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


class WordStarts:
    """Finds the starts of GPT-2's words."""

    def __init__(self) -> None:
        self._classes = Lookup(paged(classes()))

    def __call__(self, codes: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
        """Whether each code point begins a word.

        Args:
            codes: int32 ``[C]``.
            is_first: bool ``[C]``, whether a code point begins a piece of text; words do not cross pieces.
        """
        kind = self._classes(codes)
        space = kind == SPACE
        goes_on = ~_after(is_first, 1, True)  # the next one is of the same piece
        after_space = _before(space, 1)
        starts = tf.where(
            space,
            ~after_space | (goes_on & ~_after(space, 1)),
            tf.where(after_space, _before(codes != _BLANK, 1), _before(kind, 1) != kind),
        )
        starts |= is_first

        # A contraction at the start of a word is a word of its own.
        opens = starts & (codes == _APOSTROPHE) & goes_on
        one, two = _after(codes, 1), _after(codes, 2)

        def either(letters: str) -> tf.Tensor:
            return tf.reduce_any(one[:, tf.newaxis] == [ord(letter) for letter in letters], 1)

        short = opens & either("stmd")
        long = (
            opens & _after(goes_on, 1) & ((either("rv") & (two == ord("e"))) | ((one == ord("l")) & (two == ord("l"))))
        )
        starts = (starts & ~_before(short | long, 1)) | _before(short, 2) | _before(long, 3)
        return starts | is_first


def _before(values: tf.Tensor, distance: int) -> tf.Tensor:
    """The value ``distance`` places before each; zero if there is none."""
    return tf.concat([tf.zeros([distance], values.dtype), values], 0)[: tf.size(values)]


def _after(values: tf.Tensor, distance: int, last: bool | int = 0) -> tf.Tensor:
    """The value ``distance`` places after each; ``last`` if there is none."""
    return tf.concat([values, tf.cast(tf.fill([distance], last), values.dtype)], 0)[distance:]
