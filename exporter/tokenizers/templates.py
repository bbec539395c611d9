"""From the tokens of texts to what an encoder takes: cut, put between [CLS] and [SEP], padded.

Lengths after cutting are those of the reference (``truncate_encodings`` in tokenizers), special tokens set aside
first. Where the reference raises, because the one text that may be cut is too short for that, this cuts the other
one too: a graph must not fail a whole batch for one text.

Shape letters: B texts or pairs, T tokens of the longest, L tokens of all texts.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from ..sources.checkpoint import TokenizerRules
from .wordpiece.op import Rows

__all__ = ["ROUND_ROBIN", "Encoding", "pair", "single"]

#: tensorflow-text's RoundRobinTrimmer: both texts give tokens in turns, the first one first.
ROUND_ROBIN = "round_robin"


class Encoding(NamedTuple):
    """Tokens of a batch, padded to its longest text or pair.

    Attributes:
        input_word_ids: int32 ``[B, T]``, ``[CLS] text [SEP]`` or ``[CLS] text [SEP] text_pair [SEP]``, and padding.
        input_mask: int32 ``[B, T]``, 1 at tokens, 0 at padding.
        start_offsets: int32 ``[B, T]``, first byte in the caller's text; -1 at [CLS], [SEP] and padding.
        limit_offsets: int32 ``[B, T]``, byte after the last; -1 as above.
        token_count: int32 ``[B]``, tokens with [CLS] and [SEP] before truncation.
        input_type_ids: int32 ``[B, T]``, 1 at the second text and the [SEP] behind it, else 0; ``None`` for
            single texts.
    """

    input_word_ids: tf.Tensor
    input_mask: tf.Tensor
    start_offsets: tf.Tensor
    limit_offsets: tf.Tensor
    token_count: tf.Tensor
    input_type_ids: tf.Tensor | None = None


def single(rows: Rows, rules: TokenizerRules, max_length: int, side: str) -> Encoding:
    """One text a row."""
    kept = tf.minimum(rows.length, max_length - 2)  # [B]
    column = _columns(kept + 2)
    last = kept[:, tf.newaxis] + 1  # [B, 1], where [SEP] stands
    # One gather does it all: padding, [CLS] and [SEP] are entries behind the last token.
    pad = tf.size(rows.ids)
    text = _first_kept(rows, kept, side)[:, tf.newaxis] + column - 1
    index = tf.where(column < last, text, tf.where(column == last, pad + 2, pad))
    index = tf.where(column == 0, pad + 1, index)  # [B, T]
    return _gathered(rows, index, tf.cast(column <= last, tf.int32), rows.length + 2, rules)


def pair(rows: Rows, rules: TokenizerRules, max_length: int, side: str, strategy: str) -> Encoding:
    """Two texts a row: ``rows`` has all the first ones, then all the second ones."""
    lengths = tf.reshape(rows.length, [2, -1])  # [2, B]
    kept = tf.stack(_kept(lengths[0], lengths[1], max_length - 3, strategy))
    first, second = tf.unstack(
        tf.reshape(_first_kept(rows, tf.reshape(kept, [-1]), side), [2, -1])[:, :, tf.newaxis], num=2
    )  # [B, 1]
    middle = kept[0][:, tf.newaxis] + 1  # [B, 1], where the first [SEP] stands
    last = middle + kept[1][:, tf.newaxis] + 1  # [B, 1], and the second
    column = _columns(tf.reduce_sum(kept, 0) + 3)
    pad = tf.size(rows.ids)
    index = tf.where(column < middle, first + column - 1, second + column - middle - 1)
    index = tf.where((column == middle) | (column == last), pad + 2, tf.where(column > last, pad, index))
    index = tf.where(column == 0, pad + 1, index)  # [B, T]
    types = tf.cast((column > middle) & (column <= last), tf.int32)
    encoding = _gathered(rows, index, tf.cast(column <= last, tf.int32), tf.reduce_sum(lengths, 0) + 3, rules)
    return encoding._replace(input_type_ids=types)


def _kept(first: tf.Tensor, second: tf.Tensor, room: int, strategy: str) -> tuple[tf.Tensor, tf.Tensor]:
    """How many tokens of each text of a pair are kept, int32 ``[B]``."""
    if strategy == "only_first":
        other = tf.minimum(second, room)
        return tf.minimum(first, room - other), other
    if strategy == "only_second":
        other = tf.minimum(first, room)
        return other, tf.minimum(second, room - other)
    if strategy == ROUND_ROBIN:
        half = (room + 1) // 2
        return (
            tf.minimum(first, tf.maximum(half, room - second)),
            tf.minimum(second, tf.maximum(room - half, room - first)),
        )
    # The longer one gives way until both are of one length; an odd token goes to the longer.
    half = room // 2
    is_first_longer = first > second
    shorter, longer = tf.minimum(first, second), tf.maximum(first, second)
    rest = tf.maximum(room - shorter, shorter)
    too_long = shorter + rest > room
    shorter_kept = tf.where(too_long, half, shorter)
    longer_kept = tf.minimum(longer, tf.where(too_long, room - half, rest))
    return (
        tf.where(is_first_longer, longer_kept, shorter_kept),
        tf.where(is_first_longer, shorter_kept, longer_kept),
    )


def _columns(lengths: tf.Tensor) -> tf.Tensor:
    """Numbers of the columns, int32 ``[1, T]``."""
    return tf.range(tf.reduce_max(tf.concat([lengths, [2]], 0)))[tf.newaxis, :]


def _first_kept(rows: Rows, kept: tf.Tensor, side: str) -> tf.Tensor:
    return rows.start if side == "right" else rows.start + rows.length - kept


def _gathered(rows: Rows, index: tf.Tensor, mask: tf.Tensor, count: tf.Tensor, rules: TokenizerRules) -> Encoding:
    special = [rules.pad_id, rules.cls_id, rules.sep_id]
    return Encoding(
        input_word_ids=tf.gather(tf.concat([rows.ids, special], 0), index),
        input_mask=mask,
        start_offsets=tf.gather(tf.concat([rows.begins, [-1] * 3], 0), index),
        limit_offsets=tf.gather(tf.concat([rows.limits, [-1] * 3], 0), index),
        token_count=count,
    )
