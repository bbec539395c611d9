"""Pre-tokenisation of Unigram tokenizers: white space is removed, or replaced by the mark at the start of a word.

Each step splits the pieces of a stream further. Added tokens are pieces of their own, and stay as they are.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ..characters import Characters
from ..lookup import Lookup
from ..ragged import flags_at, shifted
from ..tables import paged
from . import reference
from .spec import Step
from .stream import Stream

#: Takes a stream, and the original characters.
PreTokenizer = Callable[[Stream, Characters], Stream]


def step(state: Step) -> PreTokenizer:
    """A step of a pre-tokeniser."""
    kinds: dict[str, Callable[[Step], Any]] = {"WhitespaceSplit": WhitespaceSplit, "Metaspace": Metaspace}
    made: PreTokenizer = kinds[state.type](state)
    return made


class WhitespaceSplit:
    """Removes white space, and splits pieces there."""

    def __init__(self, step: Step) -> None:
        self._is_space = Lookup(paged(reference.spaces()))

    def __call__(self, stream: Stream, characters: Characters) -> Stream:
        """Split pieces."""
        space = self._is_space(stream.codes) > 0
        # A piece that begins with white space begins after it.
        stream = stream._replace(starts=stream.starts | shifted(space, False))
        return stream.at(tf.reshape(tf.where(~space), [-1]))


class Metaspace:
    """Replaces blanks by a mark, adds the mark to pieces that do not begin with it, and splits pieces before marks."""

    def __init__(self, step: Step) -> None:
        self._mark, self._scheme, self._split = ord(step["replacement"]), step["prepend_scheme"], step["split"]

    def __call__(self, stream: Stream, characters: Characters) -> Stream:
        """Split pieces."""
        # The placeholder of an added token is no blank, and it already begins a piece.
        is_blank = tf.cast(stream.codes == ord(" "), tf.int32)
        stream = stream._replace(codes=stream.codes + is_blank * (self._mark - ord(" ")))
        if self._scheme != "never":
            stream = self._prepended(stream, characters)
        return stream._replace(starts=stream.starts | (stream.codes == self._mark)) if self._split else stream

    def _prepended(self, stream: Stream, characters: Characters) -> Stream:
        """Add marks. A new mark has the position of the character after it."""
        first = tf.cast(tf.reshape(tf.where(stream.starts), [-1]), tf.int32)
        source = tf.gather(stream.source, first)
        lacks = (tf.gather(stream.codes, first) != self._mark) & (tf.gather(characters.added, source) < 0)
        if self._scheme == "first":
            lacks &= tf.gather(characters.begins, source) == 0
        first = tf.gather(first, tf.where(lacks)[:, 0])
        marks, count = first + tf.range(tf.size(first)), tf.size(stream.codes) + tf.size(first)
        is_mark = flags_at(marks, count)
        stream = stream.at(tf.range(count) - tf.cumsum(tf.cast(is_mark, tf.int32), exclusive=True))
        return stream._replace(
            codes=tf.where(is_mark, self._mark, stream.codes), starts=stream.starts & ~shifted(is_mark, False)
        )
