"""BERT's normalisation in the graph: a table lookup for each code point, and the ordering of marks.

Shape letters: C code points before, E after.
"""

import tensorflow as tf

from ..lookup import Lookup
from ..order import Order, expand
from .behaviour import ISOLATED
from .codepoints import MANY, SHIFT, STAYS, CodePointTable


class Normalizer:
    """Replaces code points by a table."""

    def __init__(self, table: CodePointTable) -> None:
        self._look_up = Lookup(table.values)
        self._many_splits, self._many = tf.constant(table.many_splits), tf.constant(table.many)
        self._order = Order(table.marks) if table.marks is not None else None

    def __call__(self, codes: tf.Tensor, fixed: tf.Tensor, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalise.

        Args:
            codes: int32 ``[C]``.
            fixed: bool ``[C]``, whether a code point stays unchanged, as a word of its own.
            text: int32 ``[C]``, index of the text, ascending; marks stay within their text.

        Returns:
            Code points and their classes, and the index of the origin of each, int32 ``[E]``.
        """
        values = tf.where(fixed, ISOLATED, self._look_up(codes))
        order = self._order
        if order is None:
            return self._replace(codes, values)

        def ordered() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            # Code points that the clean-up, the first step, removes.
            gone = tf.bitwise.bitwise_and(values, ~STAYS) == MANY
            items, origin, _ = order(codes, gone, text)
            looked_up = tf.where(tf.gather(fixed, origin), ISOLATED, self._look_up(items))
            mapped, classes, source = self._replace(items, looked_up)
            return mapped, classes, tf.gather(origin, source)

        stays = tf.reduce_any(tf.bitwise.bitwise_and(values, STAYS) != 0)
        return tf.cond(stays, ordered, lambda: self._replace(codes, values))

    def _replace(self, codes: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        entry, kind = tf.bitwise.right_shift(values, SHIFT), tf.bitwise.bitwise_and(values, 3)
        row = tf.where(kind == MANY, entry, 0)
        source, _, is_many, at = expand(self._many_splits, row, kind == MANY)
        single = tf.bitwise.left_shift(codes + entry, SHIFT) + kind
        mapped = tf.where(is_many, tf.gather(self._many, at), tf.gather(single, source))
        return tf.bitwise.right_shift(mapped, SHIFT), tf.bitwise.bitwise_and(mapped, 3), source
