"""Texts as flat code points with their byte positions in the caller's text, and the removal of added tokens.

No contents of a string cause an error: each invalid UTF-8 sequence counts as one U+FFFD.

Shape letters: B texts, C code points of all texts, P pieces of text.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from .added import Finder, Matches
from .ragged import rows_of, shifted


class Characters(NamedTuple):
    """Code points of all texts, end to end."""

    codes: tf.Tensor  # int32 [C]
    begins: tf.Tensor  # int32 [C], first byte in the text
    limits: tf.Tensor  # int32 [C], byte after the last
    text: tf.Tensor  # int32 [C], index of the text
    added: tf.Tensor  # int32 [C], id of the added token that it replaces, -1: none

    def at(self, index: tf.Tensor) -> Characters:
        """The code points at some indices."""
        return Characters(*(tf.gather(each, index) for each in self))


def decode(text: tf.Tensor) -> tuple[Characters, tf.Tensor]:
    """Code points of strings ``[B]``, and the start of each text among them, int32 ``[B + 1]``."""
    decoded, offsets = tf.strings.unicode_decode_with_offsets(text, "UTF-8")
    codes, splits = decoded.values, tf.cast(decoded.row_splits, tf.int32)
    row = rows_of(splits, tf.size(codes))
    begins = tf.cast(offsets.values, tf.int32)
    # A character ends where the next one begins: the last one of a text at 0 by this, and really where the text ends.
    next_begins = tf.concat([begins, [0]], 0)[1:]
    text_ends = tf.math.unsorted_segment_max(tf.strings.length(text), splits[1:] - 1, tf.size(codes))
    return Characters(codes, begins, tf.maximum(next_begins, text_ends), row, tf.fill(tf.shape(codes), -1)), splits


def piece_starts(characters: Characters) -> tf.Tensor:
    """Whether each character begins a piece of text between added tokens, bool ``[C]``; an added token is a piece
    too."""
    is_marker = characters.added >= 0
    return (shifted(characters.text, -1) != characters.text) | is_marker | shifted(is_marker, False)


def splits_at(starts: tf.Tensor) -> tf.Tensor:
    """Starts of pieces, int32 ``[P + 1]`` with the end of the last, from flags of first characters, bool ``[C]``."""
    return tf.concat([tf.cast(tf.reshape(tf.where(starts), [-1]), tf.int32), tf.shape(starts)], 0)


def pieces_between(characters: Characters) -> tf.Tensor:
    """Starts of the pieces of text between added tokens, int32 ``[P + 1]``."""
    return splits_at(piece_starts(characters))


def cut_out(
    finder: Finder, characters: Characters, splits: tf.Tensor, filler: int, trims: bool = False
) -> tuple[Characters, tf.Tensor, Matches]:
    """Replace every added token by one character with the token's position, and drop the white space of the match.

    Args:
        finder: finds the tokens.
        characters: characters of all texts.
        splits: int32 ``[P + 1]``, starts of the pieces to search.
        filler: a code point that occurs in no token.
        trims: whether the position of a token excludes the white space of the match.

    Returns:
        The remaining characters, their indices, and the matches.
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
