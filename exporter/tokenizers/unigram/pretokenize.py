"""Pre-tokenisation of Unigram tokenizers: white space removed, or turned into the mark of a word's beginning.

Each step takes and returns characters, and where the pieces of text begin that it parts: added tokens are pieces of
their own, and are left alone.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ..characters import Characters
from ..lookup import Lookup
from ..ragged import shifted, spread
from ..tables import paged
from . import reference
from .spec import Step

#: Characters ``[C]`` and starts of pieces, bool ``[C]``.
Pieces = tuple[Characters, tf.Tensor]


def step(state: Step) -> Callable[[Characters, tf.Tensor], Pieces]:
    """A step of a pre-tokeniser."""
    kinds: dict[str, Callable[[Step], Any]] = {"WhitespaceSplit": WhitespaceSplit, "Metaspace": Metaspace}
    made: Callable[[Characters, tf.Tensor], Pieces] = kinds[state.type](state)
    return made


class WhitespaceSplit:
    """Removes white space, and parts pieces there."""

    def __init__(self, step: Step) -> None:
        self._is_space = Lookup(paged(reference.spaces()))

    def __call__(self, characters: Characters, starts: tf.Tensor) -> Pieces:
        """Part pieces."""
        space = self._is_space(characters.codes) > 0
        kept = tf.reshape(tf.where(~space), [-1])
        # A piece that begins with white space begins after it.
        return characters.at(kept), tf.gather(starts | shifted(space, False), kept)


class Metaspace:
    """Turns blanks into a mark, puts it before pieces that do not begin with it, and parts pieces before each."""

    def __init__(self, step: Step) -> None:
        self._mark, self._scheme, self._split = ord(step["replacement"]), step["prepend_scheme"], step["split"]

    def __call__(self, characters: Characters, starts: tf.Tensor) -> Pieces:
        """Part pieces."""
        own = characters.added < 0
        codes = tf.where(own & (characters.codes == ord(" ")), self._mark, characters.codes)
        characters = characters._replace(codes=codes)
        if self._scheme != "never":
            before = starts & own & (codes != self._mark)
            if self._scheme == "first":
                before &= characters.begins == 0
            source, within = spread(1 + tf.cast(before, tf.int32))
            marked = tf.gather(before, source) & (within == 0)
            characters, starts = characters.at(source), tf.gather(starts, source) & (within == 0)
            characters = characters._replace(codes=tf.where(marked, self._mark, characters.codes))
        if self._split:
            starts |= (characters.codes == self._mark) & (characters.added < 0)
        return characters, starts
