"""BERT's WordPiece tokenizer as a graph: strings in, token ids and byte offsets out, without special tokens.

There are two paths to the same tokens. Plain ASCII, the common case, needs only one tensorflow-text op, which splits
words like BERT. Other texts are decoded, mapped code point by code point with a table from the reference tokenizer
(:mod:`.codepoints`), and split into words; only the words go through the op (:mod:`.unicode`). A batch may contain
texts of both kinds.

Ops used: ``FastWordpieceTokenizeWithOffsets``, ``RegexSplitWithOffsets`` (both in every TensorFlow Serving from
2.12 on) and core TensorFlow. No contents of a string make the graph fail.
"""

import tensorflow as tf

from .. import added
from ..ragged import Rows, lengths_of
from .behaviour import normalizer
from .spec import WordPieceSpec
from .unicode import UnicodeTokenizer, wordpiece

#: Printable ASCII and BERT's white space: among these, normalisation changes only A-Z.
_PLAIN = r"[\t\n\r -~]*"


class WordPiece:
    """A WordPiece tokenizer; see :class:`..tokenizer.TextTokenizer`."""

    def __init__(self, spec: WordPieceSpec, ignored: frozenset[str]) -> None:
        normalize = normalizer(spec).normalize_str
        raw, normalized = added.finders(spec.added_tokens, ignored, normalize)
        self._lowercase = spec.lowercase
        self._wordpiece = wordpiece(spec, pretokenized=False)
        self._unicode = UnicodeTokenizer(spec, raw, normalized)
        self._may_hold_added = added.anywhere(spec.added_tokens, ignored, normalize)

    def __call__(self, text: tf.Tensor) -> Rows:
        """Tokenize strings ``[B]``."""
        plain = tf.strings.regex_full_match(text, _PLAIN)
        holds_added = tf.zeros_like(plain)
        if self._may_hold_added is not None:
            holds_added = tf.strings.regex_full_match(text, self._may_hold_added)
            plain &= ~holds_added
        return tf.cond(
            tf.reduce_all(plain),
            lambda: self._plain(text),
            lambda: self._mixed(text, plain, tf.reduce_any(holds_added)),
        )

    def _plain(self, text: tf.Tensor) -> Rows:
        """Tokenize texts that match :data:`_PLAIN`, and contain no added token."""
        found = self._wordpiece.tokenize_with_offsets(tf.strings.lower(text) if self._lowercase else text)
        ids, begins, limits = (tf.cast(each.values, tf.int32) for each in found)
        splits = tf.cast(found[0].row_splits, tf.int32)
        return Rows(ids, begins, limits, splits[:-1], lengths_of(splits))

    def _mixed(self, text: tf.Tensor, plain: tf.Tensor, holds_added: tf.Tensor) -> Rows:
        """Tokenize texts of both kinds; ``plain`` marks plain texts; the others may contain raw added tokens."""
        plain_at, other_at = tf.reshape(tf.where(plain), [-1]), tf.reshape(tf.where(~plain), [-1])
        left = self._plain(tf.gather(text, plain_at))
        right = self._unicode(tf.gather(text, other_at), holds_added)
        order = tf.argsort(tf.concat([plain_at, other_at], 0))
        ids, begins, limits = (tf.concat(pair, 0) for pair in zip(left[:3], right[:3], strict=True))
        return Rows(
            ids,
            begins,
            limits,
            tf.gather(tf.concat([left.start, right.start + tf.size(left.ids)], 0), order),
            tf.gather(tf.concat([left.length, right.length], 0), order),
        )
