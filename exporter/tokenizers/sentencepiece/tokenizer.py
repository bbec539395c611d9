"""A SentencePiece model as a graph: strings in, token ids and byte offsets out, without special tokens.

tensorflow-text's own ops make the ids, in the order of the Hub's preprocessing models. Its offsets refer to the
normalised text; here they are mapped to the caller's.

Ops used: ``SentencepieceOp``, ``SentencepieceTokenizeWithOffsetsOp``, ``NormalizeUTF8`` and ``CaseFoldUTF8``, all in
every TensorFlow Serving from 2.12 on.

Shape letters: B texts, C code points, S segments (see :mod:`.folding`), L tokens.
"""

import tensorflow as tf
import tensorflow_text as tf_text

from ..characters import decode
from ..ragged import Rows, last_at_most, lengths_of, rows_of, starts_of
from .folding import Segments, fold
from .spec import SentencePieceSpec

#: U+FFFD, and the size of its UTF-8.
_REPLACEMENT, _SIZE = 0xFFFD, 3
_ASCII = r"[\x00-\x7f]*"


class SentencePiece(tf.Module):
    """A SentencePiece tokenizer; see :class:`..tokenizer.TextTokenizer`."""

    def __init__(self, spec: SentencePieceSpec, ignored: frozenset[str]) -> None:
        super().__init__(name="sentencepiece")
        self._lowercase = spec.lowercase
        self._segments = Segments(spec.lowercase)
        self._op = tf_text.SentencepieceTokenizer(spec.model, out_type=tf.int32)

    def __call__(self, text: tf.Tensor) -> Rows:
        """Tokenize strings ``[B]``."""
        found = self._op.tokenize_with_offsets(fold(text, self._lowercase))
        ids, begins, limits = (tf.cast(each.values, tf.int32) for each in found)
        splits = tf.cast(found[0].row_splits, tf.int32)
        begins, limits = tf.cond(
            tf.reduce_all(tf.strings.regex_full_match(text, _ASCII)),
            lambda: (begins, limits),  # normalisation keeps lengths
            lambda: self._places(text, begins, limits, rows_of(splits, tf.size(ids))),
        )
        return Rows(ids, begins, limits, splits[:-1], lengths_of(splits))

    def _places(self, text: tf.Tensor, begins: tf.Tensor, limits: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """From bytes of normalised texts to bytes of the caller's.

        Args:
            text: string ``[B]``.
            begins, limits: int32 ``[L]``, first byte of each token in its normalised text, and the byte after its last.
            row: int32 ``[L]``, index of the text of each token.

        Returns:
            int32 ``[L]`` twice. A token that is a part of a segment has the place of the whole segment; one without a
            character of the text (a mark of a word's beginning) has the end of the token before it.
        """
        characters, _ = decode(text)
        first = self._segments(characters.codes, characters.text)
        splits = tf.concat([first, tf.shape(characters.codes)], 0)  # [S + 1]
        segments = tf.RaggedTensor.from_row_splits(characters.codes, splits, validate=False)
        folded = fold(tf.strings.unicode_encode(segments, "UTF-8"), self._lowercase)
        # Normalisation keeps invalid bytes, which are U+FFFD here.
        invalid = tf.where(characters.codes == _REPLACEMENT, characters.limits - characters.begins - _SIZE, 0)
        sizes = tf.strings.length(folded) + lengths_of(tf.gather(starts_of(invalid), splits))
        position = starts_of(sizes)  # [S + 1], in bytes of all normalised texts end to end
        start = tf.gather(position, tf.searchsorted(tf.gather(characters.text, first), row))  # of each token's text

        begins, limits, is_empty = start + begins, start + limits, begins == limits
        last = tf.maximum(last_at_most(position[:-1], limits - 1), 0)  # segments of the last bytes
        ends = tf.where(limits == start, 0, tf.gather(characters.limits, tf.gather(splits, last + 1) - 1))
        segment = last_at_most(position, begins)
        is_between = tf.gather(position, segment) == begins
        starts = tf.gather(characters.begins, tf.gather(first, tf.minimum(segment, tf.size(first) - 1)))
        starts = tf.where(is_empty & is_between, ends, starts)
        return starts, tf.where(is_empty, starts, ends)
