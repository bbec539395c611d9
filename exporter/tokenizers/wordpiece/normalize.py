"""BERT's normalisation in the graph: tables looked up code point by code point, and marks put in order.

Shape letters: C code points before, E after.
"""

import tensorflow as tf

from ..lookup import Lookup
from ..ragged import spread
from .behaviour import ISOLATED
from .codepoints import MANY, SHIFT, STAYS, CodePointTable, MarkTable


class Normalizer:
    """Replaces code points by what a table says."""

    def __init__(self, table: CodePointTable) -> None:
        self._look_up = Lookup(table.values)
        self._many_splits, self._many = tf.constant(table.many_splits), tf.constant(table.many)
        self._order = _Order(table.marks) if table.marks is not None else None

    def __call__(self, codes: tf.Tensor, fixed: tf.Tensor, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalise.

        Args:
            codes: int32 ``[C]``.
            fixed: bool ``[C]``, which stay as they are, each a word of its own.
            text: int32 ``[C]``, ascending; marks of one text do not mix with those of another.

        Returns:
            Code points and their classes, and the index of the code point that each came from, int32 ``[E]``.
        """
        values = tf.where(fixed, ISOLATED, self._look_up(codes))
        order = self._order
        if order is None:
            return self._replace(codes, values)

        def ordered() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            items, origin = order(codes, values, text)
            looked_up = tf.where(tf.gather(fixed, origin), ISOLATED, self._look_up(items))
            mapped, classes, source = self._replace(items, looked_up)
            return mapped, classes, tf.gather(origin, source)

        stays = tf.reduce_any(tf.bitwise.bitwise_and(values, STAYS) != 0)
        return tf.cond(stays, ordered, lambda: self._replace(codes, values))

    def _replace(self, codes: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        entry, kind = tf.bitwise.right_shift(values, SHIFT), tf.bitwise.bitwise_and(values, 3)
        row = tf.where(kind == MANY, entry, 0)
        source, _, is_many, at = _expand(self._many_splits, row, kind == MANY)
        single = tf.bitwise.left_shift(codes + entry, SHIFT) + kind
        mapped = tf.where(is_many, tf.gather(self._many, at), tf.gather(single, source))
        return tf.bitwise.right_shift(mapped, SHIFT), tf.bitwise.bitwise_and(mapped, 3), source


class _Order:
    """Canonical decomposition and ordering of combining marks (The Unicode Standard, 3.11, D108 to D109).

    The reference goes through the ordered text and takes the next code point of the text before as the origin of
    each that is the first of its decomposition; the others belong to the one before. So where marks change
    places their origins do not go with them.
    """

    def __init__(self, marks: MarkTable) -> None:
        self._codes, self._splits = tf.constant(marks.codes), tf.constant(marks.splits)
        self._items, self._ranks = tf.constant(marks.items), tf.constant(marks.ranks)

    def __call__(self, codes: tf.Tensor, values: tf.Tensor, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decompose and put in order; the code points, and the index of the one that each comes from, ``[E]``."""
        row = tf.minimum(tf.searchsorted(self._codes, codes), tf.size(self._codes) - 1)
        listed = tf.gather(self._codes, row) == codes  # never one that is fixed: it is in no text
        # The clean-up, which comes first, removes this one.
        present = tf.reshape(tf.where(listed | (tf.bitwise.bitwise_and(values, ~STAYS) != MANY)), [-1])
        codes, row, listed, text = (tf.gather(each, present) for each in (codes, row, listed, text))
        source, within, is_listed, at = _expand(self._splits, row, listed)
        items = tf.where(is_listed, tf.gather(self._items, at), tf.gather(codes, source))
        rank = tf.where(is_listed, tf.gather(self._ranks, at), 0)

        # A run: something that is no mark, and the marks after it.
        text = tf.gather(text, source)
        is_first_of_text = tf.concat([[True], text[1:] != text[:-1]], 0)[: tf.size(text)]
        run = tf.cumsum(tf.cast((rank == 0) | is_first_of_text, tf.int64))
        order = tf.argsort(run * 256 + tf.cast(rank, tf.int64), stable=True)
        is_first = tf.gather(tf.cast(within == 0, tf.int32), order)
        origin = tf.gather(present, tf.cumsum(is_first) - 1)
        return tf.gather(items, order), tf.cast(origin, tf.int32)


def _expand(splits: tf.Tensor, row: tf.Tensor, listed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Code points ``[C]``, of which those that are listed become a row of a table, and the others stay.

    Returns:
        Of each result ``[E]`` the code point that it comes from, its number among that one's, whether that one is
        listed, and the entry of the table, 0 if not.
    """
    begins = tf.gather(splits, row)
    source, within = spread(tf.where(listed, tf.gather(splits, row + 1) - begins, 1))
    is_listed = tf.gather(listed, source)
    return source, within, is_listed, tf.where(is_listed, tf.gather(begins, source) + within, 0)
