"""Texts as flat code points, each with its place in the caller's text, and added tokens cut out of them.

Nothing here fails for what a string contains: invalid UTF-8 counts as U+FFFD, each bad sequence once.

Shape letters: B texts, C code points of all texts, P pieces of text.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from .added import Finder, Matches
from .ragged import rows_of


class Characters(NamedTuple):
    """Code points of all texts, end to end."""

    codes: tf.Tensor  # int32 [C]
    begins: tf.Tensor  # int32 [C], first byte in the text
    limits: tf.Tensor  # int32 [C], byte after the last
    text: tf.Tensor  # int32 [C], the text that it is of
    added: tf.Tensor  # int32 [C], id of the added token in whose place it is, -1: none

    def at(self, index: tf.Tensor) -> Characters:
        """Some of them."""
        return Characters(*(tf.gather(each, index) for each in self))


def decode(text: tf.Tensor) -> tuple[Characters, tf.Tensor]:
    """Code points of strings ``[B]``, and where those of each text begin, int32 ``[B + 1]``."""
    decoded, offsets = tf.strings.unicode_decode_with_offsets(text, "UTF-8")
    codes, splits = decoded.values, tf.cast(decoded.row_splits, tf.int32)
    row = rows_of(splits, tf.size(codes))
    begins = tf.cast(offsets.values, tf.int32)
    is_last = tf.range(tf.size(codes)) + 1 == tf.gather(splits, row + 1)
    limits = tf.where(is_last, tf.gather(tf.strings.length(text), row), tf.concat([begins[1:], [0]], 0))
    return Characters(codes, begins, limits, row, tf.fill(tf.shape(codes), -1)), splits


def piece_starts(characters: Characters) -> tf.Tensor:
    """Which characters begin a piece of text between added tokens, bool ``[C]``; an added token is a piece too."""
    is_marker = characters.added >= 0
    edge = (characters.text[1:] != characters.text[:-1]) | is_marker[1:] | is_marker[:-1]
    return tf.concat([[True], edge], 0)[: tf.size(is_marker)]


def splits_at(starts: tf.Tensor) -> tf.Tensor:
    """Where pieces begin, of which characters begin one, bool ``[C]``: int32 ``[P + 1]``, with the end of the last."""
    return tf.concat([tf.cast(tf.reshape(tf.where(starts), [-1]), tf.int32), tf.shape(starts)], 0)


def pieces_between(characters: Characters) -> tf.Tensor:
    """Where each piece of text between added tokens begins, int32 ``[P + 1]``."""
    return splits_at(piece_starts(characters))


def cut_out(
    finder: Finder, characters: Characters, splits: tf.Tensor, filler: int, trims: bool = False
) -> tuple[Characters, tf.Tensor, Matches]:
    """Leave one character of every added token, with the token's place in the text, and drop the white space that it
    takes.

    Args:
        finder: looks for them.
        characters: of all texts.
        splits: int32 ``[P + 1]``, the pieces that are searched.
        filler: a code point that is in no token.
        trims: whether a token's place leaves out the white space that it takes.

    Returns:
        What is left, its indices, and what was found.
    """
    found = finder(characters.codes, splits, filler)
    count = tf.size(characters.codes) + 1
    opens, closes = (
        tf.math.unsorted_segment_sum(tf.ones_like(found.id), at, count) for at in (found.start, found.stop)
    )
    covered = tf.cumsum(opens - closes)[:-1] > 0
    first, after = (found.marker, found.end) if trims else (found.start, found.stop)
    changes = {
        "codes": tf.fill(tf.shape(found.id), filler),
        "begins": tf.gather(characters.begins, first),
        "limits": tf.gather(characters.limits, after - 1),
        "added": found.id,
    }
    at = found.marker[:, tf.newaxis]
    marked = characters._replace(
        **{name: tf.tensor_scatter_nd_update(getattr(characters, name), at, new) for name, new in changes.items()}
    )
    kept = tf.reshape(tf.where(~covered | (marked.added >= 0)), [-1])
    return marked.at(kept), kept, found
