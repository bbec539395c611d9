"""What becomes of the characters of all texts on the way to words."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from ..characters import Characters, piece_starts


class Stream(NamedTuple):
    """Code points, end to end, and where they come from.

    Only these are carried from step to step; a token's place in its text is looked up when there are tokens.
    """

    codes: tf.Tensor  # int32 [C]
    starts: tf.Tensor  # bool [C], which begin a piece of text; an added token is one
    source: tf.Tensor  # int32 [C], index of the character that each comes from

    def at(self, index: tf.Tensor) -> Stream:
        """Some of them."""
        return Stream(*(tf.gather(each, index) for each in self))


def of(characters: Characters) -> Stream:
    """The characters themselves."""
    return Stream(characters.codes, piece_starts(characters), tf.range(tf.size(characters.codes)))
