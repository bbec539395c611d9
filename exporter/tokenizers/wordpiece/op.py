"""The WordPiece op and what both ways to it share."""

import tensorflow as tf
import tensorflow_text as tf_text

from .spec import WordPieceSpec


def wordpiece(spec: WordPieceSpec, *, pretokenized: bool) -> tf_text.FastWordpieceTokenizer:
    """The op over the vocabulary; ``pretokenized``: it gets words, not texts."""
    # An id without a token gets one that no text can have.
    filler = chr(unknown_char(spec))
    vocab = [f"{filler}{index}" if token is None else token for index, token in enumerate(spec.vocab)]
    return tf_text.FastWordpieceTokenizer(
        vocab=vocab,
        suffix_indicator=spec.continuing_subword_prefix,
        # Words are measured in code points elsewhere; in plain ASCII both are the same.
        max_bytes_per_word=2**30 if pretokenized else spec.max_input_chars_per_word,
        token_out_type=tf.int32,
        unknown_token=spec.unk_token,
        no_pretokenization=pretokenized,
    )


def unknown_char(spec: WordPieceSpec) -> int:
    """A code point that is in no token: a word of it is unknown."""
    used = {ord(char) for token in spec.vocab if token for char in token}
    used.update(ord(char) for token in spec.added_tokens for char in token.content)
    return next(code for code in (0x1, 0x2, 0xFDD0, 0xFDD1, 0xFFFF, 0x10FFFF) if code not in used)
