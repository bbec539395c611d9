"""Canonical ordering of combining marks, in the graph.

Shape letters: C code points before, E after.
"""

import tensorflow as tf

from .marks import MarkTable
from .ragged import shifted, spread


class Order:
    """Canonical decomposition and ordering of combining marks (The Unicode Standard, 3.11, D108 to D109).

    The reference walks through the ordered text: the origin of each first code point of a decomposition is the next
    code point of the text before; other code points have the origin of the one before them. So marks that change
    places do not keep their origins.
    """

    def __init__(self, marks: MarkTable) -> None:
        self._codes, self._splits = tf.constant(marks.codes), tf.constant(marks.splits)
        self._items, self._ranks = tf.constant(marks.items), tf.constant(marks.ranks)

    def __call__(self, codes: tf.Tensor, gone: tf.Tensor, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Decompose code points with marks, and order the marks.

        Args:
            codes: int32 ``[C]``.
            gone: bool ``[C]``, whether to remove them before, unless the table lists them.
            text: int32 ``[C]``, index of the text, ascending; marks stay within their text.

        Returns:
            Code points, the index of the origin of each, and whether each is the first of its decomposition,
            ``[E]``.
        """
        row = tf.minimum(tf.searchsorted(self._codes, codes), tf.size(self._codes) - 1)
        listed = tf.gather(self._codes, row) == codes  # never a fixed code point, because that occurs in no text
        present = tf.reshape(tf.where(listed | ~gone), [-1])
        codes, row, listed, text = (tf.gather(each, present) for each in (codes, row, listed, text))
        source, within, is_listed, at = expand(self._splits, row, listed)
        items = tf.where(is_listed, tf.gather(self._items, at), tf.gather(codes, source))
        rank = tf.where(is_listed, tf.gather(self._ranks, at), 0)

        # A run is a code point that is not a mark, and the marks after it.
        text = tf.gather(text, source)
        run = tf.cumsum(tf.cast((rank == 0) | (shifted(text, -1) != text), tf.int64))
        order = tf.argsort(run * 256 + tf.cast(rank, tf.int64), stable=True)
        is_first = tf.gather(tf.cast(within == 0, tf.int32), order)
        origin = tf.gather(present, tf.cumsum(is_first) - 1)
        return tf.gather(items, order), tf.cast(origin, tf.int32), is_first > 0


def expand(splits: tf.Tensor, row: tf.Tensor, listed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Replace listed code points of ``[C]`` by their row of a table, and keep the others.

    Returns:
        For each result ``[E]`` the index of its origin, its number among the results of that origin, whether the origin
        is listed, and the entry of the table (0 if not listed).
    """
    begins = tf.gather(splits, row)
    source, within = spread(tf.where(listed, tf.gather(splits, row + 1) - begins, 1))
    is_listed = tf.gather(listed, source)
    return source, within, is_listed, tf.where(is_listed, tf.gather(begins, source) + within, 0)
