"""``trim_offsets``: exclusion of white space from token offsets (``process_offsets`` in tokenizers).

White space is counted in the spelling of a token, but removed from its position in the text; so the removed characters
need not be white space there. The spelling of an added token includes the white space of its match.

Shape letters: L tokens, M added tokens found.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ..added import Matches, sought
from .behaviour import white_space_around
from .spec import BpeSpec


class Trim:
    """Trims white space off positions."""

    def __init__(self, spec: BpeSpec, normalize: Callable[[str], str]) -> None:
        self._keeps_first = spec.keeps_prefix_space
        around = [white_space_around(token or "") for token in spec.vocab]
        self._of_token = tf.constant(np.array(around, np.int32))
        self._added = tf.constant([token.id for token in spec.added_tokens], tf.int32)
        contents = [sought(token, normalize) for token in spec.added_tokens]
        self._of_added = tf.constant(np.array([white_space_around(each) for each in contents], np.int32).reshape(-1, 2))
        self._is_blank = tf.constant([white_space_around(each)[0] == len(each) for each in contents], tf.bool)

    def of_tokens(self, ids: tf.Tensor) -> tf.Tensor:
        """White space at the start and at the end of tokens, int32 ``[L, 2]``."""
        return tf.gather(self._of_token, tf.minimum(ids, tf.shape(self._of_token)[0] - 1))

    def of_added(self, found: Matches) -> tf.Tensor:
        """White space at the start and at the end of added tokens, including that of their match, int32 ``[M, 2]``."""
        token = tf.argmax(tf.cast(found.id[:, tf.newaxis] == self._added[tf.newaxis], tf.int32), 1)
        beside = tf.stack([found.marker - found.start, found.stop - found.end], 1)
        whole = (found.stop - found.start)[:, tf.newaxis]
        is_blank = tf.gather(self._is_blank, token)[:, tf.newaxis]
        return tf.where(is_blank, whole, tf.gather(self._of_added, token) + beside)

    def __call__(
        self, start: tf.Tensor, stop: tf.Tensor, around: tf.Tensor, is_first: tf.Tensor, zero: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Trim positions.

        Args:
            start: int32 ``[L]``, first character.
            stop: int32 ``[L]``, character after the last.
            around: int32 ``[L, 2]``, see :meth:`of_tokens`.
            is_first: bool ``[L]``, whether a token is the first of its text.
            zero: int32 ``[L]``, the first character of their text.
        """
        lead, trail = around[:, 0], around[:, 1]
        if self._keeps_first:
            # A blank that was put before the text does not belong to it.
            lead = tf.where((is_first | (start == zero)) & (lead == 1), 0, lead)
        start = tf.minimum(start + lead, stop)
        return start, tf.where(stop - zero >= trail, tf.maximum(stop - trail, start), stop)
