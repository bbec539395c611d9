"""Tokenization of any text: decode, normalise each code point, split into words, and tokenize the words.

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
    """Tokenizes any text.

    Args:
        spec: vocabulary and settings.
        raw: finder for added tokens in the raw text.
        normalized: finder for added tokens in the normalised text.
    """

    def __init__(self, spec: WordPieceSpec, raw: Finder | None, normalized: Finder | None) -> None:
        self._raw, self._normalized = raw, normalized
        self._normalize = Normalizer(codepoints.build(spec))
        self._longest = spec.max_input_chars_per_word
        self._trims = spec.trim_offsets
        self._counts_bytes = spec.style == "tf-text"
        # Replaces an added token, and every character of a word that is too long.
        self._filler = _unknown_char(spec)
        self._wordpiece = wordpiece(spec, pretokenized=True)

    def __call__(self, text: tf.Tensor, may_hold_added: tf.Tensor) -> Rows:
        """Tokenize.

        Args:
            text: string ``[B]``.
            may_hold_added: bool scalar; false means that no text contains a raw added token.
        """
        characters, classes = self._normalized_characters(text, may_hold_added)  # [E]
        # A word ends before a gap, before an isolated character, and at the end of a text.
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

        # Word pieces; then from bytes in the word to code points, and to bytes in the text.
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
        """Normalised characters, with one in place of each added token, and their classes."""
        characters, splits = decode(text)
        finder = self._raw  # no walrus operator: AutoGraph does not support it, and warns
        if finder is not None:
            characters = tf.cond(
                may_hold_added,
                lambda: cut_out(finder, characters, splits, self._filler, self._trims)[0],
                lambda: characters,
            )
        codes, classes, source = self._normalize(characters.codes, characters.added >= 0, characters.text)
        characters = characters.at(source)._replace(codes=codes)
        if self._normalized is not None:
            # Search the normalised text between the matches so far for further added tokens.
            splits = pieces_between(characters)
            characters, kept, _ = cut_out(self._normalized, characters, splits, self._filler, self._trims)
            classes = tf.where(characters.added >= 0, ISOLATED, tf.gather(classes, kept))
        return characters, classes


def wordpiece(spec: WordPieceSpec, *, pretokenized: bool) -> tf_text.FastWordpieceTokenizer:
    """The op with the vocabulary; ``pretokenized``: for words, not texts."""
    # An unused id gets a token that cannot occur in a text.
    filler = chr(_unknown_char(spec))
    vocab = [f"{filler}{index}" if token is None else token for index, token in enumerate(spec.vocab)]
    return tf_text.FastWordpieceTokenizer(
        vocab=vocab,
        suffix_indicator=spec.continuing_subword_prefix,
        # The limit is in code points; in plain ASCII these are bytes.
        max_bytes_per_word=2**30 if pretokenized else spec.max_input_chars_per_word,
        token_out_type=tf.int32,
        unknown_token=spec.unk_token,
        no_pretokenization=pretokenized,
    )


def _unknown_char(spec: WordPieceSpec) -> int:
    """A code point that occurs in no token, so that a word with it is unknown."""
    used = {ord(char) for token in spec.vocab if token for char in token}
    used.update(ord(char) for token in spec.added_tokens for char in token.content)
    return next(code for code in (0x1, 0x2, 0xFDD0, 0xFDD1, 0xFFFF, 0x10FFFF) if code not in used)
