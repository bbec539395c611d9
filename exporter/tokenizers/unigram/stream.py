"""Code points of all texts during normalisation and pre-tokenisation."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from ..characters import Characters, piece_starts


class Stream(NamedTuple):
    """Code points of all texts, end to end, and their origins.

    Each step changes only these. The position of a token in its text is looked up at the end.
    """

    codes: tf.Tensor  # int32 [C]
    starts: tf.Tensor  # bool [C], whether it begins a piece of text; an added token is a piece
    source: tf.Tensor  # int32 [C], index of the original character

    def at(self, index: tf.Tensor) -> Stream:
        """The code points at some indices."""
        return Stream(*(tf.gather(each, index) for each in self))


def of(characters: Characters) -> Stream:
    """The characters themselves."""
    return Stream(characters.codes, piece_starts(characters), tf.range(tf.size(characters.codes)))
