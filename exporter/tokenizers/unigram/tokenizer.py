"""A Unigram tokenizer as a graph: strings in, token ids and byte offsets out, without special tokens.

Texts become code points; added tokens are cut out of them, and what is between is normalised, parted into words by the
pre-tokeniser, and the words into pieces. Only core TensorFlow ops are used, but for the op that finds added tokens,
``RegexSplitWithOffsets``, which is in every TensorFlow Serving from 2.12 on.
"""

import tensorflow as tf

from .. import added
from ..characters import Characters, cut_out, decode, piece_starts, pieces_between, splits_at
from ..ragged import Rows, lengths_of
from . import normalize, pretokenize, reference
from .segment import Segmenter
from .spec import UnigramSpec


class Unigram:
    """A Unigram tokenizer; see :class:`..tokenizer.TextTokenizer`."""

    def __init__(self, spec: UnigramSpec, ignored: frozenset[str]) -> None:
        normalizer = reference.normalizer(spec.normalizer)
        normal = normalizer.normalize_str if normalizer else str
        self._raw, self._normalized = added.finders(spec.added_tokens, ignored, normal)
        self._may_hold_added = added.anywhere(spec.added_tokens, ignored, normal)
        self._trims = spec.trim_offsets
        self._normalize = [normalize.stage(step) for step in spec.normalizer]
        self._pretokenize = [pretokenize.step(step) for step in spec.pre_tokenizer]
        self._segment = Segmenter(spec)
        self._filler = reference.filler(spec)

    def __call__(self, text: tf.Tensor) -> Rows:
        """Tokenize strings ``[B]``."""
        characters, splits = decode(text)
        if self._raw is not None:
            finder = self._raw
            holds_added = tf.reduce_any(tf.strings.regex_full_match(text, self._may_hold_added))
            characters = tf.cond(
                holds_added,
                lambda: cut_out(finder, characters, splits, self._filler, self._trims)[0],
                lambda: characters,
            )
        for stage in self._normalize:
            codes, source = stage(characters.codes, _piece(characters), characters.added >= 0)
            characters = characters.at(source)._replace(codes=codes)
        if self._normalized is not None:
            # Added tokens in what normalisation made of the text between those found before.
            characters, _, _ = cut_out(
                self._normalized, characters, pieces_between(characters), self._filler, self._trims
            )
        starts = piece_starts(characters)
        for step in self._pretokenize:
            characters, starts = step(characters, starts)
        return self._rows(characters, starts, tf.size(text))

    def _rows(self, characters: Characters, starts: tf.Tensor, texts: tf.Tensor) -> Rows:
        tokens = self._segment(characters.codes, splits_at(starts), characters.added)
        row_splits = tf.searchsorted(tf.gather(characters.text, tokens.first), tf.range(texts + 1))
        return Rows(
            tokens.ids,
            tf.gather(characters.begins, tokens.first),
            tf.gather(characters.limits, tokens.last),
            row_splits[:-1],
            lengths_of(row_splits),
        )


def _piece(characters: Characters) -> tf.Tensor:
    """The piece of text that each character is of, int32 ``[C]``, ascending from 0."""
    return tf.cumsum(tf.cast(piece_starts(characters), tf.int32)) - 1
