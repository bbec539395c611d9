"""Texts of any kind: decoded, normalised code point by code point, parted into words, and only the words tokenized.

Nothing here fails for what a string holds: invalid UTF-8 counts as U+FFFD, each bad sequence once.

Shape letters: B texts, L tokens of all texts, C code points, E code points after normalisation, K the same without
white space, W words.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from ..added import Finder, utf8_length
from ..ragged import Rows, last_at_most, lengths_of, rows_of, starts_of
from . import codepoints
from .behaviour import ISOLATED, SPACE, WORD
from .normalize import Normalizer
from .spec import WordPieceSpec


class _Characters(NamedTuple):
    """Code points of all texts, end to end."""

    codes: tf.Tensor  # int32 [C]
    begins: tf.Tensor  # int32 [C], first byte in the text
    limits: tf.Tensor  # int32 [C], byte after the last
    text: tf.Tensor  # int32 [C], the text that it is of
    added: tf.Tensor  # int32 [C], id of the added token in whose place it is, -1: none

    def at(self, index: tf.Tensor) -> _Characters:
        """Some of them."""
        return _Characters(*(tf.gather(each, index) for each in self))


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

    def _normalized_characters(self, text: tf.Tensor, may_hold_added: tf.Tensor) -> tuple[_Characters, tf.Tensor]:
        """What normalisation leaves, with one in place of each added token, and the classes."""
        characters, splits = _decode(text)
        finder = self._raw  # no walrus: AutoGraph does not know it, and warns
        if finder is not None:
            characters = tf.cond(
                may_hold_added, lambda: self._cut_out(finder, characters, splits)[0], lambda: characters
            )
        codes, classes, source = self._normalize(characters.codes, characters.added >= 0, characters.text)
        characters = characters.at(source)._replace(codes=codes)
        if self._normalized is not None:
            # Look for added tokens in what normalisation made of the text between those found before.
            is_marker = characters.added >= 0
            edge = (characters.text[1:] != characters.text[:-1]) | is_marker[1:] | is_marker[:-1]
            edge = tf.concat([[True], edge], 0)[: tf.size(codes)]
            splits = tf.concat([tf.cast(tf.reshape(tf.where(edge), [-1]), tf.int32), [tf.size(codes)]], 0)
            characters, kept = self._cut_out(self._normalized, characters, splits)
            classes = tf.where(characters.added >= 0, ISOLATED, tf.gather(classes, kept))
        return characters, classes

    def _cut_out(self, finder: Finder, characters: _Characters, splits: tf.Tensor) -> tuple[_Characters, tf.Tensor]:
        """Leave one character of every added token, with the token's place in the text, and drop the white space that
        it takes; what is left, and its indices."""
        found = finder(characters.codes, splits, self._filler)
        count = tf.size(characters.codes) + 1
        opens, closes = (
            tf.math.unsorted_segment_sum(tf.ones_like(found.id), at, count) for at in (found.start, found.stop)
        )
        covered = tf.cumsum(opens - closes)[:-1] > 0
        first, after = (found.marker, found.end) if self._trims else (found.start, found.stop)
        changes = {
            "codes": tf.fill(tf.shape(found.id), self._filler),
            "begins": tf.gather(characters.begins, first),
            "limits": tf.gather(characters.limits, after - 1),
            "added": found.id,
        }
        at = found.marker[:, tf.newaxis]
        marked = characters._replace(
            **{name: tf.tensor_scatter_nd_update(getattr(characters, name), at, new) for name, new in changes.items()}
        )
        kept = tf.reshape(tf.where(~covered | (marked.added >= 0)), [-1])
        return marked.at(kept), kept


def _decode(text: tf.Tensor) -> tuple[_Characters, tf.Tensor]:
    """Code points, and where those of each text begin, int32 ``[B + 1]``."""
    decoded, offsets = tf.strings.unicode_decode_with_offsets(text, "UTF-8")
    codes, splits = decoded.values, tf.cast(decoded.row_splits, tf.int32)
    row = rows_of(splits, tf.size(codes))
    begins = tf.cast(offsets.values, tf.int32)
    is_last = tf.range(tf.size(codes)) + 1 == tf.gather(splits, row + 1)
    limits = tf.where(is_last, tf.gather(tf.strings.length(text), row), tf.concat([begins[1:], [0]], 0))
    return _Characters(codes, begins, limits, row, tf.fill(tf.shape(codes), -1)), splits


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
