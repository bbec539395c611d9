"""A Unigram tokenizer as a graph: strings in, token ids and byte offsets out, without special tokens.

Texts become code points; added tokens are cut out of them; the rest is normalised, split into words by the
pre-tokeniser, and divided into pieces. Only core TensorFlow ops are used, except the op that finds added tokens,
``RegexSplitWithOffsets``, which is in every TensorFlow Serving from 2.12 on.
"""

import tensorflow as tf

from .. import added
from ..characters import Characters, cut_out, decode, splits_at
from ..distinct import DistinctWords
from ..ragged import Rows, lengths_of, shifted, spread
from . import normalize, pretokenize, reference, stream
from .segment import Segmenter
from .spec import UnigramSpec
from .stream import Stream


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
        self._words = DistinctWords(reference.whole_words(spec), Segmenter(spec), "UTF8_CHAR")
        self._filler, self._byte_fallback = reference.filler(spec), spec.byte_fallback

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
        flow = stream.of(characters)
        for stage in self._normalize:
            flow = _normalized(stage, flow, characters)
        if self._normalized is not None:
            # Added tokens in the normalised text, between the tokens found before.
            characters = characters.at(flow.source)._replace(codes=flow.codes)
            characters, _, _ = cut_out(self._normalized, characters, splits_at(flow.starts), self._filler, self._trims)
            flow = stream.of(characters)
        for step in self._pretokenize:
            flow = step(flow, characters)
        return self._rows(flow, characters, tf.size(text))

    def _rows(self, flow: Stream, characters: Characters, texts: tf.Tensor) -> Rows:
        splits = splits_at(flow.starts)
        words = tf.RaggedTensor.from_row_splits(flow.codes, splits, validate=False)
        tokens = self._words(tf.strings.unicode_encode(words, "UTF-8"))
        word, within = spread(tokens.counts)
        begin = tf.gather(splits, word)
        first = tf.gather(flow.source, begin + tokens.begins)
        last = tf.gather(flow.source, begin + tokens.limits - 1)
        added = tf.gather(characters.added, first)
        ids = tf.where(added < 0, tokens.ids, added)
        if self._byte_fallback:
            # The placeholder of an added token has become several tokens, one for each byte.
            kept = tf.reshape(tf.where((added < 0) | (within == 0)), [-1])
            ids, first, last = (tf.gather(each, kept) for each in (ids, first, last))
        row_splits = tf.searchsorted(tf.gather(characters.text, first), tf.range(texts + 1))
        return Rows(
            ids,
            tf.gather(characters.begins, first),
            tf.gather(characters.limits, last),
            row_splits[:-1],
            lengths_of(row_splits),
        )


def _normalized(stage: normalize.Stage, flow: Stream, characters: Characters) -> Stream:
    """Apply a step of the normaliser, if it may change something."""

    def changed() -> Stream:
        piece = tf.cumsum(tf.cast(flow.starts, tf.int32)) - 1
        codes, index = stage(flow.codes, piece, tf.gather(characters.added, flow.source) >= 0)
        piece = tf.gather(piece, index)
        return Stream(codes, piece != shifted(piece, -1), tf.gather(flow.source, index))

    return tf.cond(stage.concerns(flow.codes, flow.starts), changed, lambda: flow)
