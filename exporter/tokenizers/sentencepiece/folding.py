"""The normalisation of the Hub's preprocessing models before SentencePiece, and the places of its results.

Normalisation removes accents and folds case, with tensorflow-text's ops. It changes lengths, and joins characters
(Hangul's letters become syllables), so the places of single characters are lost. But it never joins characters across
the beginning of a segment: a character, and all characters after it that combine with the one before, or disappear.
"""

import functools

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from ..lookup import Lookup
from ..tables import CODE_POINTS, paged, scalars

#: The combining mark of the highest combining class: canonical ordering moves any other mark before it.
_HIGHEST = "\u0345"


def fold(text: tf.Tensor, lowercase: bool) -> tf.Tensor:
    """Texts without nonspacing marks and, with ``lowercase``, by NFKC_Casefold (The Unicode Standard, 3.13)."""
    text = tf.strings.regex_replace(tf_text.normalize_utf8(text, "NFD"), r"\p{Mn}", "")
    return tf_text.case_fold_utf8(text) if lowercase else text


class Segments:
    """Finds the segments of texts."""

    def __init__(self, lowercase: bool) -> None:
        self._continues = Lookup(paged(_continues(lowercase)))

    def __call__(self, codes: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        """The first code point of each segment, int32 ``[S]``.

        Args:
            codes: int32 ``[C]``.
            text: int32 ``[C]``, index of the text, ascending.
        """
        begins = tf.concat([[True], text[1:] != text[:-1]], 0)[: tf.size(codes)]
        return tf.cast(tf.reshape(tf.where(begins | (self._continues(codes) == 0)), [-1]), tf.int32)


@functools.cache
def _continues(lowercase: bool) -> np.ndarray:
    """Whether each code point belongs to the segment of the one before it, bool ``[CODE_POINTS]``."""
    codes = scalars()
    texts = tf.strings.unicode_encode(codes[:, np.newaxis], "UTF-8")
    apart = tf_text.normalize_utf8(texts, "NFD")
    # What a composition can take as its second part, and what canonical ordering moves.
    parts = tf.strings.unicode_decode(apart, "UTF-8")
    joins = np.zeros(CODE_POINTS, bool)
    joins[parts[:, 1:].flat_values.numpy()] = True
    joins[codes[_first(tf_text.normalize_utf8(tf.strings.join([_HIGHEST, texts]), "NFD")) != ord(_HIGHEST)]] = True
    table = np.zeros(CODE_POINTS, bool)
    firsts = [_first(each) for each in (apart, fold(texts, lowercase))]
    table[codes] = np.any([(first < 0) | joins[first] for first in firsts], 0)
    return table


def _first(texts: tf.Tensor) -> np.ndarray:
    """The first code point of each text, -1 for an empty one."""
    return tf.strings.unicode_decode(texts, "UTF-8")[:, :1].to_tensor(-1, [None, 1])[:, 0].numpy()
