"""A table over all code points, in the graph."""

import tensorflow as tf

from .tables import PAGE, Pages


class Lookup:
    """A paged table in the graph."""

    def __init__(self, table: Pages) -> None:
        self._page_index, self._pages = tf.constant(table.page_index), tf.constant(table.pages.reshape(-1))

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        """The values of code points, int32, of the same shape."""
        return tf.gather(self._pages, tf.gather(self._page_index, codes // PAGE) * PAGE + codes % PAGE)
