"""A padded batch without its padding: the tokens of all texts in one sequence, and attention in length groups.

Dense layers and normalisation work token by token, so they run on the packed tokens. Attention needs the tokens of a
text together: texts are sorted by length and divided into a few groups with about the same number of tokens, and each
group is padded only to its own longest text. Packed tokens keep the caller's order throughout.

An attention head reads and writes one row of D numbers per token. So one gather of rows moves queries, keys and values
from the packed tokens into a group, separated by heads, and another gather moves the results back, without transposes.

Shape letters: B texts, T tokens of the longest, N tokens of all texts, H hidden, A heads, D = H / A. In a group: g
texts, t tokens of the longest.
"""

from typing import NamedTuple

import tensorflow as tf

#: More groups waste less on padding, but each costs about ten operations per layer, even if it is empty.
_GROUPS = 4

#: Added to the scores of padding, so that exp() gives exactly 0 in float32 and no row is ever all -inf.
MASKED = -1e9


class Group(NamedTuple):
    """Texts that attention processes together.

    Attributes:
        rows: int32 ``[3, g, A, t]``, indices of query, key and value of every head and token among the rows of D
            numbers ``[N * 3 * A]`` of the packed tokens; padding has the rows of some real token.
        columns: int32 ``[t]``, positions of the tokens in their texts.
        bias: float32 ``[g, 1, 1, t]``, added to every query's scores; ``None`` without padding.
    """

    rows: tf.Tensor
    columns: tf.Tensor
    bias: tf.Tensor | None


def divide(lengths: tf.Tensor, groups: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
    """Divide texts into groups of similar length with about the same number of tokens.

    Args:
        lengths: int32 ``[B]``, tokens of each text.
        groups: number of groups; some may be empty.

    Returns:
        ``order`` int32 ``[B]``, the texts sorted by length, and ``bounds`` int32 ``[groups + 1]``, the start of each
        group in that order, then the number of texts.
    """
    order = tf.argsort(lengths, stable=True)
    # A group ends before the text that would exceed its share of the tokens.
    shares = tf.reduce_sum(lengths) * tf.range(1, groups) // groups
    inner = tf.searchsorted(tf.cumsum(tf.gather(lengths, order)), shares, side="right")
    return order, tf.concat([[0], inner, [tf.size(lengths)]], 0)


def _rows(tokens: tf.Tensor, heads: int) -> tf.Tensor:
    """The rows of packed tokens int32 ``[g, t]``, in the form of :class:`Group`."""
    row = tokens[:, tf.newaxis, :] * (3 * heads) + tf.range(heads)[:, tf.newaxis]  # [g, A, t]
    return row + tf.range(0, 3 * heads, heads)[:, tf.newaxis, tf.newaxis, tf.newaxis]


class Packing:
    """Indices of every token of a batch: padded, packed and in its group.

    Args:
        mask: int32 ``[B, T]``, 1 at real tokens, which come first in every row.
        heads: number of attention heads, A.
        many: whether there may be several texts; a single text, without padding, is one group.

    Attributes:
        columns: int32 ``[N]``, the position of each packed token in its text.
        many: the argument.
    """

    def __init__(self, mask: tf.Tensor, heads: int, many: bool = True) -> None:
        self.many = many
        width = tf.shape(mask)[1]
        lengths = tf.reduce_sum(mask, axis=1)  # [B]
        rows, self.columns = tf.unstack(tf.cast(tf.where(mask == 1), tf.int32), num=2, axis=1)
        self._texts, self._lengths = rows, lengths
        starts = tf.cumsum(lengths, exclusive=True)  # [B]
        last = tf.maximum(tf.size(rows) - 1, 0)
        self._packed = rows * width + self.columns  # [N], into the padded tokens
        self._padded = tf.minimum(starts[:, tf.newaxis] + tf.range(width), last)  # [B, T], into the packed tokens

        groups = _GROUPS if many else 1
        order, bounds = divide(lengths, groups)
        lengths, starts = tf.gather(lengths, order), tf.gather(starts, order)
        self.groups: list[Group] = []
        # For each text: its first row in the results of all groups (flat, with padding), and the stride between heads.
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
        # [N, A], the index of each head of each token among the flat rows of the groups' results.
        self._back = (first + self.columns)[:, tf.newaxis] + stride[:, tf.newaxis] * tf.range(heads)

    def split(self, rows: tf.Tensor) -> list[tf.Tensor]:
        """``[N * 3 * A, D]`` -> queries, keys and values of each group ``[3, g, A, t, D]``."""
        return [tf.gather(rows, group.rows) for group in self.groups]

    def join(self, contexts: list[tf.Tensor]) -> tf.Tensor:
        """Results of each group ``[g, A, t, D]`` -> ``[N, A, D]``."""
        size = contexts[0].shape[-1]
        return tf.gather(tf.concat([tf.reshape(context, [-1, size]) for context in contexts], 0), self._back)

    def neighbours(self, packed: tf.Tensor, width: int) -> tf.Tensor:
        """Each token's vector together with its neighbours': ``[N, H]`` -> ``[N, width * H]``, zeros outside its
        text."""
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
        """``[N, H]`` -> ``[B, T, H]``; padding gets the values of some real token."""
        return tf.gather(packed, self._padded)
