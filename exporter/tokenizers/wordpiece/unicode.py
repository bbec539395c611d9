"""Texts of any kind: decoded, normalised code point by code point, parted into words, and only the words tokenized.

Shape letters: B texts, L tokens of all texts, C code points, E code points after normalisation, K the same without
white space, W words.
"""

import tensorflow as tf
import tensorflow_text as tf_text

from ..added import Finder, utf8_length
from ..characters import Characters, cut_out, decode, pieces_between
from ..ragged import Rows, last_at_most, lengths_of, rows_of, starts_of
from . import codepoints
from .behaviour import ISOLATED, SPACE, WORD
from .normalize import Normalizer
from .spec import WordPieceSpec


class UnicodeTokenizer:
    """Tokenizes texts of any kind.

    Args:
        spec: vocabulary and settings.
        raw: looks for added tokens in the text as it is.
        normalized: looks for added tokens in the normalised text.
    """

    def __init__(self, spec: WordPieceSpec, raw: Finder | None, normalized: Finder | None) -> None:
        self._raw, self._normalized = raw, normalized
        self._normalize = Normalizer(codepoints.build(spec))
        self._longest = spec.max_input_chars_per_word
        self._trims = spec.trim_offsets
        self._counts_bytes = spec.style == "tf-text"
        # Stands for an added token, and for every character of a word that is too long.
        self._filler = _unknown_char(spec)
        self._wordpiece = wordpiece(spec, pretokenized=True)

    def __call__(self, text: tf.Tensor, may_hold_added: tf.Tensor) -> Rows:
        """Tokenize.

        Args:
            text: string ``[B]``.
            may_hold_added: bool scalar; where it is not set, there is no raw added token in any of them.
        """
        characters, classes = self._normalized_characters(text, may_hold_added)  # [E]
        # Words: a gap, a word of its own, or another text ends one.
        same = tf.concat([[False], characters.text[1:] == characters.text[:-1]], 0)
        after_word = tf.concat([[False], classes[:-1] == WORD], 0)
        is_start = ~(same & after_word & (classes == WORD))
        kept = tf.reshape(tf.where(classes != SPACE), [-1])
        characters, is_start = characters.at(kept), tf.gather(is_start, kept)  # [K]
        codes = characters.codes
        first = tf.cast(tf.reshape(tf.where(is_start), [-1]), tf.int32)  # [W]
        word_splits = tf.concat([first, [tf.size(codes)]], 0)  # [W + 1]
        word = tf.cumsum(tf.cast(is_start, tf.int32)) - 1  # [K]
        sizes = lengths_of(word_splits)
        if self._counts_bytes:
            sizes = lengths_of(tf.gather(starts_of(utf8_length(codes)), word_splits))
        too_long = sizes > self._longest
        codes = tf.where(tf.gather(too_long, word), self._filler, codes)

        # Word pieces, and from bytes in the word back to code points, to bytes in the text.
        words = tf.strings.unicode_encode(tf.RaggedTensor.from_row_splits(codes, word_splits, validate=False), "UTF-8")
        pieces, piece_begins, piece_limits = self._wordpiece.tokenize_with_offsets(words)
        ids = pieces.values  # [L]
        word = rows_of(tf.cast(pieces.row_splits, tf.int32), tf.size(ids))  # [L]
        position = tf.cumsum(utf8_length(codes), exclusive=True)  # [K], in bytes of all words end to end
        word_position = tf.gather(position, tf.gather(first, word))  # [L]
        first_code = last_at_most(position, word_position + tf.cast(piece_begins.values, tf.int32))
        last_code = last_at_most(position, word_position + tf.cast(piece_limits.values, tf.int32) - 1)
        begins, limits = tf.gather(characters.begins, first_code), tf.gather(characters.limits, last_code)
        added = tf.gather(characters.added, first_code)
        ids = tf.where(added >= 0, added, ids)
        row_splits = tf.searchsorted(tf.gather(characters.text, first_code), tf.range(tf.size(text) + 1))
        return Rows(ids, begins, limits, row_splits[:-1], lengths_of(row_splits))

    def _normalized_characters(self, text: tf.Tensor, may_hold_added: tf.Tensor) -> tuple[Characters, tf.Tensor]:
        """What normalisation leaves, with one in place of each added token, and the classes."""
        characters, splits = decode(text)
        finder = self._raw  # no walrus: AutoGraph does not know it, and warns
        if finder is not None:
            characters = tf.cond(
                may_hold_added,
                lambda: cut_out(finder, characters, splits, self._filler, self._trims)[0],
                lambda: characters,
            )
        codes, classes, source = self._normalize(characters.codes, characters.added >= 0, characters.text)
        characters = characters.at(source)._replace(codes=codes)
        if self._normalized is not None:
            # Look for added tokens in what normalisation made of the text between those found before.
            splits = pieces_between(characters)
            characters, kept, _ = cut_out(self._normalized, characters, splits, self._filler, self._trims)
            classes = tf.where(characters.added >= 0, ISOLATED, tf.gather(classes, kept))
        return characters, classes


def wordpiece(spec: WordPieceSpec, *, pretokenized: bool) -> tf_text.FastWordpieceTokenizer:
    """The op over the vocabulary; ``pretokenized``: it gets words, not texts."""
    # An id without a token gets one that no text can have.
    filler = chr(_unknown_char(spec))
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


def _unknown_char(spec: WordPieceSpec) -> int:
    """A code point that is in no token: a word of it is unknown."""
    used = {ord(char) for token in spec.vocab if token for char in token}
    used.update(ord(char) for token in spec.added_tokens for char in token.content)
    return next(code for code in (0x1, 0x2, 0xFDD0, 0xFDD1, 0xFFFF, 0x10FFFF) if code not in used)
