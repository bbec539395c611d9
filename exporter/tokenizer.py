"""BERT's tokenizer as a TensorFlow graph: strings in, token ids and byte offsets out.

Two ways lead to the same tokens. Plain ASCII, the common case, goes through one tensorflow-text op. Everything
else is decoded, mapped code point by code point through a table made by the reference tokenizer (see
:mod:`.codepoints`), parted into words, and only the words go through the op. Texts of both kinds share a batch.

Ops used: ``FastWordpieceTokenizeWithOffsets``, ``RegexSplitWithOffsets`` (both in every TensorFlow Serving from
2.12 on) and core TensorFlow. Nothing in the graph fails for what a string holds: invalid UTF-8 counts as U+FFFD.

Shape letters: B texts, T tokens of the longest text, L tokens of all texts, S segments, C code points,
E code points after normalisation, K the same without white space, W words.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from . import codepoints
from .codepoints import MANY, SPACE, WORD
from .sources.checkpoint import TokenizerRules

__all__ = ["Encoding", "Tokenizer"]

#: Printable ASCII and the white space that BERT knows: no other code point is touched by normalisation but A-Z.
_PLAIN = r"[\t\n\r -~]*"


class Encoding(NamedTuple):
    """Tokens of a batch, padded to its longest text.

    Attributes:
        input_word_ids: int32 ``[B, T]``, ``[CLS] ... [SEP]`` and padding.
        input_mask: int32 ``[B, T]``, 1 at tokens, 0 at padding.
        start_offsets: int32 ``[B, T]``, first byte in the caller's text; -1 at [CLS], [SEP] and padding.
        limit_offsets: int32 ``[B, T]``, byte after the last; -1 as above.
        token_count: int32 ``[B]``, tokens with [CLS] and [SEP] before truncation.
    """

    input_word_ids: tf.Tensor
    input_mask: tf.Tensor
    start_offsets: tf.Tensor
    limit_offsets: tf.Tensor
    token_count: tf.Tensor


class _Rows(NamedTuple):
    """Tokens of several texts, end to end: text b has ``length[b]`` of them from ``start[b]`` on."""

    ids: tf.Tensor  # int32 [L]
    begins: tf.Tensor  # int32 [L]
    limits: tf.Tensor  # int32 [L]
    start: tf.Tensor  # int32 [B]
    length: tf.Tensor  # int32 [B]


class Tokenizer(tf.Module):
    """The tokenizer of a checkpoint.

    Args:
        rules: vocabulary and settings.
        max_seq_length: most tokens of a text, ``[CLS]`` and ``[SEP]`` included; the rest is cut off at the right.
    """

    def __init__(self, rules: TokenizerRules, max_seq_length: int) -> None:
        super().__init__(name="tokenizer")
        self._rules = rules
        self._max_seq_length = max_seq_length
        # A word of this code point is unknown to every vocabulary: it stands for what must become one token.
        self._unknown_char = next(c for c in (0x0, 0xFDD0, 0xFFFF, 0x10FFFF) if not _in_vocab(chr(c), rules))
        self._plain_op = _wordpiece(rules, self._unknown_char, pretokenized=False)
        self._word_op = _wordpiece(rules, self._unknown_char, pretokenized=True)
        table = codepoints.build(rules)
        self._page_index = tf.constant(table.page_index)
        self._pages = tf.constant(table.pages.reshape(-1))
        self._many_starts = tf.constant(table.many_starts)
        self._many_lengths = tf.constant(table.many_lengths)
        self._many = tf.constant(table.many)
        contents = sorted((token.content for token in rules.added_tokens), key=len, reverse=True)
        # RE2 takes the first alternative that matches: with the longest first, that is the longest match.
        self._added = "|".join(re.escape(content) for content in contents)

    def __call__(self, text: tf.Tensor) -> Encoding:
        """Tokenize a string ``[B]``."""
        rows = self._rows(text)
        kept = tf.minimum(rows.length, self._max_seq_length - 2)  # [B]
        width = tf.reduce_max(tf.concat([kept, [0]], 0)) + 2
        column = tf.range(width)[tf.newaxis, :]  # [1, T]
        last = kept[:, tf.newaxis] + 1  # [B, 1], where [SEP] stands
        # One gather does it all: padding, [CLS] and [SEP] are entries behind the last token.
        pad = tf.size(rows.ids)
        index = tf.where(column < last, rows.start[:, tf.newaxis] + column - 1, tf.where(column == last, pad + 2, pad))
        index = tf.where(column == 0, pad + 1, index)  # [B, T]
        special = [self._rules.pad_id, self._rules.cls_id, self._rules.sep_id]
        return Encoding(
            input_word_ids=tf.gather(tf.concat([rows.ids, special], 0), index),
            input_mask=tf.cast(column <= last, tf.int32),
            start_offsets=tf.gather(tf.concat([rows.begins, [-1] * 3], 0), index),
            limit_offsets=tf.gather(tf.concat([rows.limits, [-1] * 3], 0), index),
            token_count=rows.length + 2,
        )

    def _rows(self, text: tf.Tensor) -> _Rows:
        plain = tf.strings.regex_full_match(text, _PLAIN)
        if self._added:
            plain &= ~tf.strings.regex_full_match(text, f"(?s).*(?:{self._added}).*")
        return tf.cond(tf.reduce_all(plain), lambda: self._plain_rows(text), lambda: self._mixed_rows(text, plain))

    def _plain_rows(self, text: tf.Tensor) -> _Rows:
        """Texts of plain ASCII: the op parts words as BERT does, and byte offsets are its own."""
        folded = tf.strings.lower(text) if self._rules.lowercase else text
        ids, begins, limits = self._plain_op.tokenize_with_offsets(folded)
        splits = tf.cast(ids.row_splits, tf.int32)
        return _Rows(
            ids.values,
            tf.cast(begins.values, tf.int32),
            tf.cast(limits.values, tf.int32),
            splits[:-1],
            _diff(splits),
        )

    def _mixed_rows(self, text: tf.Tensor, plain: tf.Tensor) -> _Rows:
        plain_at, other_at = tf.reshape(tf.where(plain), [-1]), tf.reshape(tf.where(~plain), [-1])
        left, right = (
            self._plain_rows(tf.gather(text, plain_at)),
            self._unicode_rows(tf.gather(text, other_at)),
        )
        order = tf.argsort(tf.concat([plain_at, other_at], 0))
        return _Rows(
            tf.concat([left.ids, right.ids], 0),
            tf.concat([left.begins, right.begins], 0),
            tf.concat([left.limits, right.limits], 0),
            tf.gather(tf.concat([left.start, right.start + tf.size(left.ids)], 0), order),
            tf.gather(tf.concat([left.length, right.length], 0), order),
        )

    def _unicode_rows(self, text: tf.Tensor) -> _Rows:
        """Texts of any kind."""
        count = tf.size(text)
        segments, segment_begin, segment_text, special_id = self._segments(text)

        # Code points and the bytes that they came from.
        decoded, offsets = tf.strings.unicode_decode_with_offsets(segments, "UTF-8")
        codes, splits = decoded.values, tf.cast(decoded.row_splits, tf.int32)  # [C], [S + 1]
        segment = _rows_of(splits, tf.size(codes))  # [C], the segment of each code point
        begins = tf.gather(segment_begin, segment) + tf.cast(offsets.values, tf.int32)
        ends = segment_begin + tf.strings.length(segments)  # [S]
        is_last = tf.range(tf.size(codes)) + 1 == tf.gather(splits, segment + 1)
        limits = tf.where(is_last, tf.gather(ends, segment), tf.concat([begins[1:], [0]], 0))

        # Normalisation. An added token becomes one unknown word, and gets its id back at the end.
        values = tf.gather(self._pages, tf.gather(self._page_index, codes // codepoints.PAGE) * codepoints.PAGE
                           + codes % codepoints.PAGE)  # fmt: skip
        is_special = tf.gather(special_id, segment) >= 0
        values = tf.where(is_special, tf.bitwise.left_shift(self._unknown_char - codes, 2) + WORD, values)
        codes, classes, source = self._normalize(codes, values)  # each [E]

        # Words: a gap, a word of its own, or another segment ends one.
        segment = tf.gather(segment, source)
        same = tf.concat([[False], segment[1:] == segment[:-1]], 0)
        after_word = tf.concat([[False], classes[:-1] == WORD], 0)
        is_start = ~(same & after_word & (classes == WORD))
        kept = tf.reshape(tf.where(classes != SPACE), [-1])
        codes, source, is_start = (
            tf.gather(codes, kept),
            tf.gather(source, kept),
            tf.gather(is_start, kept),
        )  # [K]
        first = tf.cast(tf.reshape(tf.where(is_start), [-1]), tf.int32)  # [W]
        word_splits = tf.concat([first, [tf.size(codes)]], 0)  # [W + 1]
        word = tf.cumsum(tf.cast(is_start, tf.int32)) - 1  # [K]
        too_long = _diff(word_splits) > self._rules.max_input_chars_per_word
        codes = tf.where(tf.gather(too_long, word), self._unknown_char, codes)

        # Word pieces, and from bytes in the word back to code points, to bytes in the text.
        words = tf.strings.unicode_encode(tf.RaggedTensor.from_row_splits(codes, word_splits, validate=False), "UTF-8")
        pieces, piece_begins, piece_limits = self._word_op.tokenize_with_offsets(words)
        ids = pieces.values  # [L]
        word = _rows_of(tf.cast(pieces.row_splits, tf.int32), tf.size(ids))  # [L]
        position = tf.cumsum(_utf8_length(codes), exclusive=True)  # [K], in bytes of all words end to end
        word_position = tf.gather(position, tf.gather(first, word))  # [L]
        first_code = _last_at_most(position, word_position + tf.cast(piece_begins.values, tf.int32))
        last_code = _last_at_most(position, word_position + tf.cast(piece_limits.values, tf.int32) - 1)
        first_source = tf.gather(source, first_code)
        segment = tf.gather(_rows_of(splits, tf.size(begins)), first_source)
        special = tf.gather(special_id, segment)
        row_splits = tf.searchsorted(tf.gather(segment_text, segment), tf.range(count + 1))
        return _Rows(
            ids=tf.where(special >= 0, special, ids),
            begins=tf.gather(begins, first_source),
            limits=tf.gather(limits, tf.gather(source, last_code)),
            start=row_splits[:-1],
            length=_diff(row_splits),
        )

    def _segments(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Texts parted at added tokens.

        Returns:
            Segments string ``[S]``; the byte at which each begins, the text that it belongs to, and the id of
            the added token that it is (-1: none), each int32 ``[S]``.
        """
        if not self._added:
            zeros = tf.zeros_like(text, tf.int32)
            return text, zeros, tf.range(tf.size(text)), zeros - 1
        # The op ends a text at a NUL. U+0001 is as long, and BERT's clean-up removes both.
        text = tf.strings.regex_replace(text, r"\x00", "\x01")
        segments, begins, _ = tf_text.regex_split_with_offsets(text, self._added, self._added)
        contents = tf.constant([token.content for token in self._rules.added_tokens])
        ids = tf.constant([token.id for token in self._rules.added_tokens], tf.int32)
        matches = segments.values[:, tf.newaxis] == contents[tf.newaxis, :]  # [S, added tokens]
        special_id = tf.where(tf.reduce_any(matches, 1), tf.gather(ids, tf.argmax(tf.cast(matches, tf.int32), 1)), -1)
        splits = tf.cast(segments.row_splits, tf.int32)
        owner = _rows_of(splits, tf.size(segments.values))
        return segments.values, tf.cast(begins.values, tf.int32), owner, special_id

    def _normalize(self, codes: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Replace code points by what the table says.

        Args:
            codes: int32 ``[C]``.
            values: int32 ``[C]``, table entries.

        Returns:
            Code points and their classes, and the index of the code point that each came from, int32 ``[E]``.
        """
        entry, kind = tf.bitwise.right_shift(values, 2), tf.bitwise.bitwise_and(values, 3)
        row = tf.where(kind == MANY, entry, 0)
        counts = tf.where(kind == MANY, tf.gather(self._many_lengths, row), 1)
        ends = tf.cumsum(counts)
        total = tf.reduce_sum(counts)
        source = tf.searchsorted(ends, tf.range(total), side="right")  # [E]
        within = tf.range(total) - tf.gather(ends - counts, source)
        single = tf.bitwise.left_shift(codes + entry, 2) + kind
        is_many = tf.gather(kind == MANY, source)
        at = tf.where(is_many, tf.gather(tf.gather(self._many_starts, row), source) + within, 0)
        mapped = tf.where(is_many, tf.gather(self._many, at), tf.gather(single, source))
        return tf.bitwise.right_shift(mapped, 2), tf.bitwise.bitwise_and(mapped, 3), source


def _wordpiece(rules: TokenizerRules, unknown_char: int, *, pretokenized: bool) -> tf_text.FastWordpieceTokenizer:
    # An id without a token gets one that no text can have.
    vocab = [f"{chr(unknown_char)}{index}" if token is None else token for index, token in enumerate(rules.vocab)]
    return tf_text.FastWordpieceTokenizer(
        vocab=vocab,
        suffix_indicator=rules.continuing_subword_prefix,
        # Words are measured in code points elsewhere; in plain ASCII both are the same.
        max_bytes_per_word=2**30 if pretokenized else rules.max_input_chars_per_word,
        token_out_type=tf.int32,
        unknown_token=rules.unk_token,
        no_pretokenization=pretokenized,
    )


def _in_vocab(char: str, rules: TokenizerRules) -> bool:
    return any(char in token for token in rules.vocab if token)


def _diff(splits: tf.Tensor) -> tf.Tensor:
    return splits[1:] - splits[:-1]


def _rows_of(splits: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """The row that each of ``count`` values belongs to, int32 ``[count]``."""
    return tf.searchsorted(splits, tf.range(count), side="right") - 1


def _last_at_most(ordered: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Index of the last element of ``ordered`` that is not above each value."""
    return tf.searchsorted(ordered, values, side="right") - 1


def _utf8_length(codes: tf.Tensor) -> tf.Tensor:
    return 1 + sum(tf.cast(codes >= limit, tf.int32) for limit in (0x80, 0x800, 0x10000))
