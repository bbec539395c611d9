"""The WordPiece op and what both ways to it share."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from ...sources.checkpoint import TokenizerRules

__all__ = ["Rows", "unknown_char", "wordpiece"]


class Rows(NamedTuple):
    """Tokens of several texts, end to end: text b has ``length[b]`` of them from ``start[b]`` on."""

    ids: tf.Tensor  # int32 [L]
    begins: tf.Tensor  # int32 [L], first byte in the caller's text
    limits: tf.Tensor  # int32 [L], byte behind the last
    start: tf.Tensor  # int32 [B]
    length: tf.Tensor  # int32 [B]


def wordpiece(rules: TokenizerRules, *, pretokenized: bool) -> tf_text.FastWordpieceTokenizer:
    """The op over the vocabulary; ``pretokenized``: it gets words, not texts."""
    # An id without a token gets one that no text can have.
    filler = chr(unknown_char(rules))
    vocab = [f"{filler}{index}" if token is None else token for index, token in enumerate(rules.vocab)]
    return tf_text.FastWordpieceTokenizer(
        vocab=vocab,
        suffix_indicator=rules.continuing_subword_prefix,
        # Words are measured in code points elsewhere; in plain ASCII both are the same.
        max_bytes_per_word=2**30 if pretokenized else rules.max_input_chars_per_word,
        token_out_type=tf.int32,
        unknown_token=rules.unk_token,
        no_pretokenization=pretokenized,
    )


def unknown_char(rules: TokenizerRules) -> int:
    """A code point that is in no token: a word of it is unknown."""
    used = {ord(char) for token in rules.vocab if token for char in token}
    used.update(ord(char) for token in rules.added_tokens for char in token.content)
    return next(code for code in (0x1, 0x2, 0xFDD0, 0xFDD1, 0xFFFF, 0x10FFFF) if code not in used)
