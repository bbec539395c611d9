"""From the tokens of texts to the inputs of an encoder: truncation, template, padding.

Lengths after truncation are those of the reference (``truncate_encodings`` in tokenizers), after room for special
tokens is reserved. If the reference raises an error because the text to cut is too short, this module also cuts the
other text: a graph must not fail a whole batch for one text.

Shape letters: B texts or pairs, T tokens of the longest, L tokens of all texts.
"""

from typing import NamedTuple

import tensorflow as tf

from .ragged import Rows
from .spec import TokenizerSpec

#: tensorflow-text's RoundRobinTrimmer: tokens are taken from both texts in turn, the first text first.
ROUND_ROBIN = "round_robin"


class Encoding(NamedTuple):
    """Tokens of a batch, padded to its longest text or pair.

    Attributes:
        input_word_ids: int32 ``[B, T]``, tokens of the texts in the template, and padding.
        input_mask: int32 ``[B, T]``, 1 at tokens, 0 at padding.
        start_offsets: int32 ``[B, T]``, first byte in the caller's text; -1 at special tokens and padding.
        limit_offsets: int32 ``[B, T]``, byte after the last; -1 as above.
        token_count: int32 ``[B]``, tokens with special tokens before truncation.
        input_type_ids: int32 ``[B, T]``, the template's token types, 0 at padding; ``None`` for single texts.
    """

    input_word_ids: tf.Tensor
    input_mask: tf.Tensor
    start_offsets: tf.Tensor
    limit_offsets: tf.Tensor
    token_count: tf.Tensor
    input_type_ids: tf.Tensor | None = None


def encode(rows: Rows, spec: TokenizerSpec, max_length: int, side: str, strategy: str | None = None) -> Encoding:
    """Truncate texts or pairs, and insert them into the template.

    Args:
        rows: tokens of B texts; for pairs, of all first texts, then of all second texts.
        spec: the template, and the id in padding.
        max_length: maximum tokens of a text or pair, special tokens included.
        side: side on which long texts are cut, ``right`` or ``left``.
        strategy: rule for cutting the two texts of a pair; ``None`` for single texts.
    """
    pieces = spec.template.of(strategy is not None)
    specials = spec.template.specials(strategy is not None)
    room = max_length - specials
    if strategy is None:
        lengths = rows.length[tf.newaxis]  # [texts, B]
        kept = tf.minimum(lengths, room)
    else:
        lengths = tf.reshape(rows.length, [2, -1])
        kept = tf.stack(_kept(lengths[0], lengths[1], room, strategy))
    first = rows.start if side == "right" else rows.start + rows.length - tf.reshape(kept, [-1])
    first = tf.reshape(first, tf.shape(kept))  # the first kept token of each text

    begins, limits = (
        plain if leading is None else _replaced(plain, leading, first, kept)
        for plain, leading in ((rows.begins, rows.begins_first), (rows.limits, rows.limits_first))
    )

    total = tf.reduce_sum(kept, 0)[:, tf.newaxis] + specials  # [B, 1]
    column = tf.range(tf.reduce_max(tf.concat([total, [[specials]]], 0)))[tf.newaxis, :]  # [1, T]
    # A single gather: padding and special tokens are entries after the last token.
    after = [spec.pad_id, *(piece.special for piece in pieces if piece.special is not None)]
    index, types, end = tf.fill(tf.stack([tf.size(total), tf.size(column)]), tf.size(rows.ids)), 0, total
    # From the last piece to the first: each fills all columns before its end, and earlier pieces overwrite theirs.
    special = len(after)
    for number, piece in reversed(list(enumerate(pieces))):
        if piece.special is not None:
            special -= 1
            begin, source = end - 1, tf.size(rows.ids) + special
        else:
            assert piece.text is not None
            begin = end - kept[piece.text][:, tf.newaxis]
            source = first[piece.text][:, tf.newaxis] + column - begin
        index = tf.where(column < end, source, index)
        if number + 1 == len(pieces) or piece.type != pieces[number + 1].type:
            types = tf.where(column < end, piece.type, types)
        end = begin
    return Encoding(
        input_word_ids=tf.gather(tf.concat([rows.ids, after], 0), index),
        input_mask=tf.cast(column < total, tf.int32),
        start_offsets=tf.gather(tf.concat([begins, [-1] * len(after)], 0), index),
        limit_offsets=tf.gather(tf.concat([limits, [-1] * len(after)], 0), index),
        token_count=tf.reduce_sum(lengths, 0) + specials,
        input_type_ids=None if strategy is None else types,
    )


def _replaced(plain: tf.Tensor, leading: tf.Tensor, first: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """The values of tokens ``[L]``, with those of ``leading`` at the first kept token of each text."""
    at = tf.gather_nd(first, tf.where(kept > 0))
    return tf.tensor_scatter_nd_update(plain, at[:, tf.newaxis], tf.gather(leading, at))


def _kept(first: tf.Tensor, second: tf.Tensor, room: int, strategy: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Number of kept tokens of each text of a pair, int32 ``[B]``."""
    # A text keeps at least its share of the room, and all room that the other one leaves.
    share = {
        "only_first": 0,
        "only_second": room,
        ROUND_ROBIN: (room + 1) // 2,
        "longest_first": tf.where(first > second, (room + 1) // 2, room // 2),  # the longer text gets the odd token
    }[strategy]
    return (
        tf.minimum(first, tf.maximum(share, room - second)),
        tf.minimum(second, tf.maximum(room - share, room - first)),
    )
