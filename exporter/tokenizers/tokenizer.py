"""BERT's tokenizer as a TensorFlow graph: strings in, token ids and byte offsets out.

Two ways lead to the same tokens. Plain ASCII, the common case, goes through one tensorflow-text op
(:mod:`.plain`). Everything else is decoded, mapped code point by code point through a table made by the reference
tokenizer (:mod:`.codepoints`), parted into words, and only the words go through the op (:mod:`.unicode`). Texts of
both kinds share a batch. Afterwards texts are cut and put between ``[CLS]`` and ``[SEP]`` (:mod:`.pack`).

Ops used: ``FastWordpieceTokenizeWithOffsets``, ``RegexSplitWithOffsets`` (both in every TensorFlow Serving from
2.12 on) and core TensorFlow. Nothing in the graph fails for what a string holds.
"""

from __future__ import annotations

from dataclasses import replace

import tensorflow as tf

from ..recipe import DEFAULT_TOKENIZATION, TokenizerOptions
from ..sources.checkpoint import TokenizerRules
from . import added, templates
from .templates import Encoding
from .wordpiece.op import Rows
from .wordpiece.plain import PLAIN, PlainTokenizer
from .wordpiece.unicode import UnicodeTokenizer

__all__ = ["Encoding", "Tokenizer"]


class Tokenizer(tf.Module):
    """The tokenizer of a checkpoint.

    Args:
        rules: vocabulary and settings.
        max_seq_length: most tokens of a text or a pair, ``[CLS]`` and ``[SEP]`` included.
        options: what the user chose.
    """

    def __init__(
        self, rules: TokenizerRules, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION
    ) -> None:
        super().__init__(name="tokenizer")
        self._length, self._strategy = max_seq_length, options.truncation_strategy
        if options.tokenizer == "tf-text":
            # tensorflow-text knows no added tokens, measures words in bytes, and cuts pairs in turns.
            rules = replace(rules, style="tf-text", added_tokens=(), max_input_chars_per_word=100)
            if self._strategy == "longest_first":
                self._strategy = templates.ROUND_ROBIN
        self._rules = rules
        self._side = options.truncation_side or rules.truncation_side
        plain = options.plain_text_special_tokens
        ignored = frozenset(token.content for token in rules.added_tokens if token.special and plain)
        raw, normalized = added.finders(rules, ignored)
        self._plain = PlainTokenizer(rules)
        self._unicode = UnicodeTokenizer(rules, raw, normalized)
        searched = [token for token in rules.added_tokens if token.content not in ignored]
        self._surely_plain = added.plain_without(rules, searched)
        self._may_hold_added = added.anywhere(rules, searched) if searched else None

    def __call__(self, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> Encoding:
        """Tokenize strings ``[B]``, or pairs of them."""
        if text_pair is None:
            return templates.single(self._rows(text), self._rules, self._length, self._side)
        with tf.control_dependencies([_same_count(text, text_pair)]):
            rows = self._rows(tf.concat([text, text_pair], 0))
        return templates.pair(rows, self._rules, self._length, self._side, self._strategy)

    def _rows(self, text: tf.Tensor) -> Rows:
        surely = tf.reduce_all(tf.strings.regex_full_match(text, self._surely_plain))
        return tf.cond(surely, lambda: self._plain(text), lambda: self._mixed(text))

    def _mixed(self, text: tf.Tensor) -> Rows:
        plain = tf.strings.regex_full_match(text, PLAIN)
        holds_added = tf.zeros_like(plain)
        if self._may_hold_added is not None:
            holds_added = tf.strings.regex_full_match(text, self._may_hold_added)
            plain &= ~holds_added
        plain_at, other_at = tf.reshape(tf.where(plain), [-1]), tf.reshape(tf.where(~plain), [-1])
        left = self._plain(tf.gather(text, plain_at))
        right = self._unicode(tf.gather(text, other_at), tf.reduce_any(holds_added))
        order = tf.argsort(tf.concat([plain_at, other_at], 0))
        return Rows(
            tf.concat([left.ids, right.ids], 0),
            tf.concat([left.begins, right.begins], 0),
            tf.concat([left.limits, right.limits], 0),
            tf.gather(tf.concat([left.start, right.start + tf.size(left.ids)], 0), order),
            tf.gather(tf.concat([left.length, right.length], 0), order),
        )


def _same_count(text: tf.Tensor, text_pair: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(
        tf.equal(tf.size(text), tf.size(text_pair)), ["text and text_pair must hold equally many strings"]
    )
