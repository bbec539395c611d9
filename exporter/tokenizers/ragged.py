"""Small helpers for values of several rows in one flat tensor."""

from typing import NamedTuple

import tensorflow as tf


class Rows(NamedTuple):
    """Tokens of several texts in one flat tensor: text b has ``length[b]`` tokens from ``start[b]`` on.

    ``begins_first`` and ``limits_first`` apply to a token that becomes the first of its text after truncation, if they
    differ.
    """

    ids: tf.Tensor  # int32 [L]
    begins: tf.Tensor  # int32 [L], first byte in the caller's text
    limits: tf.Tensor  # int32 [L], byte after the last
    start: tf.Tensor  # int32 [B]
    length: tf.Tensor  # int32 [B]
    begins_first: tf.Tensor | None = None  # int32 [L]
    limits_first: tf.Tensor | None = None  # int32 [L]


def lengths_of(splits: tf.Tensor) -> tf.Tensor:
    """Length of each row."""
    return splits[1:] - splits[:-1]


def starts_of(lengths: tf.Tensor) -> tf.Tensor:
    """Start of each row, and the end of the last one: ``[rows + 1]``."""
    return tf.concat([[0], tf.cumsum(lengths)], 0)


def rows_of(splits: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """The row that each of ``count`` values belongs to, int32 ``[count]``."""
    # A running sum takes half the time of a search for each value.
    begins = tf.math.unsorted_segment_sum(tf.ones_like(splits), splits, count + 1)
    return tf.cumsum(begins[:-1]) - 1


def spread(counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """For values repeated ``counts`` times: the origin of each result, and its number among that origin's results."""
    starts = starts_of(counts)
    source = rows_of(starts, starts[-1])
    return source, tf.range(starts[-1]) - tf.gather(starts, source)


def last_at_most(ordered: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Index of the last element of ``ordered`` that is not above each value."""
    return tf.searchsorted(ordered, values, side="right") - 1


def last_true(flags: tf.Tensor) -> tf.Tensor:
    """Index of the last true element at or before each, -1: none."""
    return tf.gather(tf.concat([[-1], places_of(flags)], 0), tf.cumsum(tf.cast(flags, tf.int32)))


def places_of(flags: tf.Tensor) -> tf.Tensor:
    """Indices of the true elements, int32."""
    return tf.cast(tf.where(flags)[:, 0], tf.int32)


def shifted(values: tf.Tensor, first: int | bool) -> tf.Tensor:
    """The value before each, ``first`` at the beginning."""
    return tf.concat([tf.constant([first], values.dtype), values], 0)[:-1]


def flags_at(places: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Whether each of ``count`` places is in a list, bool; the list may also contain ``count`` itself."""
    return tf.math.unsorted_segment_sum(tf.ones_like(places), places, count + 1)[:-1] > 0
