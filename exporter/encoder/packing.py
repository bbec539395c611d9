"""A padded batch without its padding: the tokens of all texts one after the other, and attention in length groups.

Dense layers and normalisation work token by token, so they run on the packed tokens. Attention needs the tokens of a
text side by side: texts are sorted by length and parted into a few groups of about as many tokens each, and a group
is padded to its own longest text only. Packed tokens keep the caller's order throughout.

Shape letters: B texts, T tokens of the longest, N tokens of all texts, g texts and t tokens of the longest of a group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

__all__ = ["Group", "Packing", "part"]

#: More groups waste less padding, and cost some twenty operations a layer each; empty ones cost that too.
_GROUPS = 4

#: Added to the scores of padding, so that exp() gives exactly 0 in float32 and no row is ever all -inf.
_MASKED = -1e9


class Group(NamedTuple):
    """Texts that attention treats together.

    Attributes:
        index: int32 ``[g, t]``, the packed row of every token; padding has a row of some real token.
        bias: float32 ``[g, 1, 1, t]``, added to every query's scores.
    """

    index: tf.Tensor
    bias: tf.Tensor


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


class Packing:
    """Where every token of a batch stands, padded, packed and in its group.

    Args:
        mask: int32 ``[B, T]``, 1 at real tokens, which come first in every row.

    Attributes:
        rows: int32 ``[N]``, the text of each packed token.
        columns: int32 ``[N]``, its position in that text.
    """

    def __init__(self, mask: tf.Tensor) -> None:
        self._tokens = tf.shape(mask)[1]
        lengths = tf.reduce_sum(mask, axis=1)  # [B]
        self.rows, self.columns = tf.unstack(tf.cast(tf.where(mask == 1), tf.int32), num=2, axis=1)
        self._starts = tf.cumsum(lengths, exclusive=True)  # [B]
        self._last = tf.maximum(tf.size(self.rows) - 1, 0)

        order, bounds = part(lengths, _GROUPS)
        lengths, starts = tf.gather(lengths, order), tf.gather(self._starts, order)
        self.groups: list[Group] = []
        offsets, size = [], tf.constant(0)  # of each text in the groups' tokens, laid end to end with padding
        for number in range(_GROUPS):
            texts = slice(bounds[number], bounds[number + 1])
            length = lengths[texts]  # [g]
            columns = tf.range(tf.reduce_max(tf.concat([length, [0]], 0)))  # [t]
            index = tf.minimum(starts[texts][:, tf.newaxis] + columns, self._last)
            bias = tf.where(columns < length[:, tf.newaxis], 0.0, _MASKED)[:, tf.newaxis, tf.newaxis, :]
            self.groups.append(Group(index, bias))
            offsets.append(size + tf.range(tf.size(length)) * tf.size(columns))
            size += tf.size(index)
        offset = tf.gather(tf.concat(offsets, 0), tf.math.invert_permutation(order))  # [B]
        self._in_groups = tf.gather(offset, self.rows) + self.columns  # [N]

    def pack(self, padded: tf.Tensor) -> tf.Tensor:
        """``[B, T]`` -> ``[N]``."""
        return tf.gather(tf.reshape(padded, [-1]), self.rows * self._tokens + self.columns)

    def unpack(self, packed: tf.Tensor) -> tf.Tensor:
        """``[N, H]`` -> ``[B, T, H]``; padding holds the values of some real token."""
        index = self._starts[:, tf.newaxis] + tf.range(self._tokens)
        return tf.gather(packed, tf.minimum(index, self._last))

    def map_groups(self, packed: tf.Tensor, run: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Run a function of ``[g, t, ...]`` and a group's bias, that returns ``[g * t, H]``, on every group.

        Args:
            packed: ``[N, ...]``.
            run: the function.

        Returns:
            ``[N, H]``.
        """
        parts = [run(tf.gather(packed, group.index), group.bias) for group in self.groups]
        return tf.gather(tf.concat(parts, 0), self._in_groups)
