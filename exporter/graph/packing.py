"""A padded batch without its padding: the tokens of all texts one after the other, and attention in length groups.

Dense layers and normalisation work token by token, so they run on the packed tokens. Attention needs the tokens of a
text side by side: texts are sorted by length and parted into a few groups of about as many tokens each, and a group
is padded to its own longest text only. Packed tokens keep the caller's order throughout.

What a head of attention reads and writes of a token is one row of D numbers. So one gather of rows takes queries, keys
and values from the packed tokens into a group, heads apart, and one takes the results back: no transposes.

Shape letters: B texts, T tokens of the longest, N tokens of all texts, H hidden, A heads, D = H / A, g texts and t
tokens of the longest of a group.
"""

from typing import NamedTuple

import tensorflow as tf

#: More groups waste less padding, and cost some ten operations a layer each; empty ones cost that too.
_GROUPS = 4

#: Added to the scores of padding, so that exp() gives exactly 0 in float32 and no row is ever all -inf.
MASKED = -1e9


class Group(NamedTuple):
    """Texts that attention treats together.

    Attributes:
        rows: int32 ``[3, g, A, t]``, where query, key and value of every head and token are among the rows of D
            numbers ``[N * 3 * A]`` of the packed tokens; padding has the rows of some real token.
        columns: int32 ``[t]``, the tokens' positions in their texts.
        bias: float32 ``[g, 1, 1, t]``, added to every query's scores; ``None`` where there is no padding.
    """

    rows: tf.Tensor
    columns: tf.Tensor
    bias: tf.Tensor | None


def part(lengths: tf.Tensor, groups: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
    """Part texts into groups of like length and of about as many tokens each.

    Args:
        lengths: int32 ``[B]``, tokens of each text.
        groups: how many; some may be empty.

    Returns:
        ``order`` int32 ``[B]``, the texts by length, and ``bounds`` int32 ``[groups + 1]``, where in that order each
        group begins, and the number of texts.
    """
    order = tf.argsort(lengths, stable=True)
    # A group ends before the text with which its share of the tokens would be exceeded.
    shares = tf.reduce_sum(lengths) * tf.range(1, groups) // groups
    inner = tf.searchsorted(tf.cumsum(tf.gather(lengths, order)), shares, side="right")
    return order, tf.concat([[0], inner, [tf.size(lengths)]], 0)


def _rows(tokens: tf.Tensor, heads: int) -> tf.Tensor:
    """The rows of packed tokens int32 ``[g, t]``, as :class:`Group` has them."""
    row = tokens[:, tf.newaxis, :] * (3 * heads) + tf.range(heads)[:, tf.newaxis]  # [g, A, t]
    return row + tf.range(0, 3 * heads, heads)[:, tf.newaxis, tf.newaxis, tf.newaxis]


class Packing:
    """Where every token of a batch is, padded, packed and in its group.

    Args:
        mask: int32 ``[B, T]``, 1 at real tokens, which come first in every row.
        heads: A.
        many: whether there may be several texts; a single one, without padding, is one group.

    Attributes:
        columns: int32 ``[N]``, the position of each packed token in its text.
        many: as given.
    """

    def __init__(self, mask: tf.Tensor, heads: int, many: bool = True) -> None:
        self.many = many
        width = tf.shape(mask)[1]
        lengths = tf.reduce_sum(mask, axis=1)  # [B]
        rows, self.columns = tf.unstack(tf.cast(tf.where(mask == 1), tf.int32), num=2, axis=1)
        self._texts, self._lengths = rows, lengths
        starts = tf.cumsum(lengths, exclusive=True)  # [B]
        last = tf.maximum(tf.size(rows) - 1, 0)
        self._packed = rows * width + self.columns  # [N], of the tokens of all texts with padding
        self._padded = tf.minimum(starts[:, tf.newaxis] + tf.range(width), last)  # [B, T], of packed tokens

        groups = _GROUPS if many else 1
        order, bounds = part(lengths, groups)
        lengths, starts = tf.gather(lengths, order), tf.gather(starts, order)
        self.groups: list[Group] = []
        # Of each text: its first row in the groups' results, laid end to end with padding, and rows between its heads.
        first, stride, size = [], [], tf.constant(0)
        for number in range(groups):
            texts = slice(bounds[number], bounds[number + 1])
            length = lengths[texts]  # [g]
            columns = tf.range(tf.reduce_max(tf.concat([length, [0]], 0)))  # [t]
            tokens = tf.minimum(starts[texts][:, tf.newaxis] + columns, last)  # [g, t]
            bias = tf.where(columns < length[:, tf.newaxis], 0.0, MASKED)[:, tf.newaxis, tf.newaxis, :]
            self.groups.append(Group(_rows(tokens, heads), columns, bias if many else None))
            first.append(size + tf.range(tf.size(length)) * (tf.size(columns) * heads))
            stride.append(tf.fill([tf.size(length)], tf.size(columns)))
            size += tf.size(tokens) * heads
        back = tf.gather(tf.stack([tf.concat(first, 0), tf.concat(stride, 0)], 1), tf.math.invert_permutation(order))
        first, stride = tf.unstack(tf.gather(back, rows), axis=1)  # [N]
        # [N, A], where each head of each token is among the rows of the groups' results, laid end to end.
        self._back = (first + self.columns)[:, tf.newaxis] + stride[:, tf.newaxis] * tf.range(heads)

    def split(self, rows: tf.Tensor) -> list[tf.Tensor]:
        """``[N * 3 * A, D]`` -> of each group queries, keys and values ``[3, g, A, t, D]``."""
        return [tf.gather(rows, group.rows) for group in self.groups]

    def join(self, contexts: list[tf.Tensor]) -> tf.Tensor:
        """Results of each group ``[g, A, t, D]`` -> ``[N, A, D]``."""
        size = contexts[0].shape[-1]
        return tf.gather(tf.concat([tf.reshape(context, [-1, size]) for context in contexts], 0), self._back)

    def neighbours(self, packed: tf.Tensor, width: int) -> tf.Tensor:
        """Each token's vector between those around it: ``[N, H]`` -> ``[N, width * H]``, zeros beyond its text."""
        with tf.device("/CPU:0"):
            away = tf.range(width) - width // 2
            columns = self.columns[:, tf.newaxis] + away  # [N, width]
            inside = (columns >= 0) & (columns < tf.gather(self._lengths, self._texts)[:, tf.newaxis])
            rows = tf.where(inside, tf.range(tf.size(self.columns))[:, tf.newaxis] + away, 0)
        near = tf.where(inside[:, :, tf.newaxis], tf.gather(packed, rows), 0.0)
        return tf.reshape(near, [-1, width * packed.shape[-1]])

    def pack(self, padded: tf.Tensor) -> tf.Tensor:
        """``[B, T]`` -> ``[N]``."""
        return tf.gather(tf.reshape(padded, [-1]), self._packed)

    def unpack(self, packed: tf.Tensor) -> tf.Tensor:
        """``[N, H]`` -> ``[B, T, H]``; padding holds the values of some real token."""
        return tf.gather(packed, self._padded)
