"""Texts of plain ASCII, the common case: one tensorflow-text op parts words as BERT does, offsets included."""

from __future__ import annotations

import tensorflow as tf

from ..ragged import Rows, lengths_of
from .op import wordpiece
from .spec import WordPieceSpec

#: Printable ASCII and the white space that BERT knows: no other code point is touched by normalisation but A-Z.
PLAIN = r"[\t\n\r -~]*"


class PlainTokenizer:
    """Tokenizes texts that match :data:`PLAIN` and hold no added token."""

    def __init__(self, spec: WordPieceSpec) -> None:
        self._lowercase = spec.lowercase
        self._wordpiece = wordpiece(spec, pretokenized=False)

    def __call__(self, text: tf.Tensor) -> Rows:
        """Tokenize string ``[B]``."""
        folded = tf.strings.lower(text) if self._lowercase else text
        ids, begins, limits = self._wordpiece.tokenize_with_offsets(folded)
        splits = tf.cast(ids.row_splits, tf.int32)
        return Rows(
            ids.values,
            tf.cast(begins.values, tf.int32),
            tf.cast(limits.values, tf.int32),
            splits[:-1],
            lengths_of(splits),
        )
