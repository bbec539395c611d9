"""The ``Precompiled`` normaliser: a map of texts, as SentencePiece writes it and the tokenizers library applies it.

If a grapheme cluster of at most five bytes begins with a key of the map, the replacement of the shortest such key
replaces the whole cluster. All other code points are replaced one by one. (SentencePiece itself uses the longest key,
and does not use clusters.)
"""

import base64

import numpy as np
import tensorflow as tf

from ..added import utf8_length
from ..lookup import Lookup
from ..ragged import lengths_of, shifted, starts_of
from ..replacements import Replacements
from ..tables import paged
from . import charsmap, graphemes
from .spec import Step

#: Classes beside those of :mod:`.graphemes`: begins a key; is a key; may join the code point before it.
_BEGINS, _KEY, _JOINS = (1 << (graphemes.BITS + at) for at in range(3))
_BASE = 1 << 21  # more than any code point


class Precompiled:
    """Replaces code points and short grapheme clusters."""

    def __init__(self, step: Step) -> None:
        texts = charsmap.reachable(charsmap.entries(base64.b64decode(step["precompiled_charsmap"])))
        several = {key: text for key, text in texts.items() if len(key) > 1}
        self._replacements = Replacements(
            {ord(key): [*map(ord, text)] for key, text in texts.items() if len(key) == 1},
            [[], *([*map(ord, text)] for text in several.values())],
        )
        self._nothing = int(self._replacements.others[0])
        keys = np.array([-1, *(_packed(key) for key in several)], np.int64)
        order = np.argsort(keys)
        self._keys, self._entries = tf.constant(keys[order]), tf.constant(self._replacements.others[order])
        kinds = graphemes.classes().copy()
        for key in texts:
            kinds[ord(key[0])] |= _BEGINS | (_KEY if len(key) == 1 else 0)
        kinds[kinds & graphemes.EXTENDS != 0] |= _JOINS
        kinds[ord("\n")] |= _JOINS  # after a carriage return
        self._kinds = Lookup(paged(kinds))

    def concerns(self, codes: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        """Whether there is a key of one code point, or a code point that may join a cluster."""
        return tf.reduce_any(tf.bitwise.bitwise_and(self._kinds(codes), _KEY | _JOINS) != 0)

    def __call__(self, codes: tf.Tensor, piece: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Replace."""
        entries = self._replacements.look_up(codes)
        kinds = self._kinds(codes)
        joins = tf.bitwise.bitwise_and(kinds, _JOINS) != 0
        can_be_first = tf.bitwise.bitwise_and(kinds, _BEGINS | _JOINS) != 0
        # Clusters matter only where a code point joins the beginning of a key, or another one that may have joined it.
        entries, units = tf.cond(
            tf.reduce_any(joins & shifted(can_be_first, False)),
            lambda: self._clusters(codes, kinds, entries, piece),
            lambda: (entries, tf.ones_like(codes)),
        )
        return self._replaced(codes, entries, units, piece)

    def _clusters(
        self, codes: tf.Tensor, kinds: tf.Tensor, entries: tf.Tensor, piece: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Entries and sizes, int32 ``[C]``.

        A cluster that is replaced as a whole has its entry and its size at its first code point; the others have size
        0.
        """
        count = tf.size(codes)
        starts = graphemes.starts(codes, kinds, piece)
        at = tf.cast(tf.reshape(tf.where(starts), [-1]), tf.int32)
        splits = tf.concat([at, [count]], 0)
        size = lengths_of(splits)
        length = lengths_of(tf.gather(starts_of(utf8_length(codes)), splits))
        first = tf.gather(kinds, at)
        may = (size > 1) & (length <= charsmap.LONGEST) & (tf.bitwise.bitwise_and(first, _BEGINS) != 0)
        at, size, first = (tf.gather(each, tf.where(may)[:, 0]) for each in (at, size, first))
        # Of keys of one, two and three code points the shortest.
        ahead = tf.cast(tf.gather(tf.concat([codes, [0, 0]], 0), at[:, tf.newaxis] + tf.range(3)), tf.int64)
        first_two = (ahead[:, 0] * _BASE + ahead[:, 1]) * _BASE
        of_two, of_three = self._find(first_two), self._find(first_two + tf.where(size > 2, ahead[:, 2], 0))
        one = tf.where(tf.bitwise.bitwise_and(first, _KEY) != 0, tf.gather(entries, at), 0)
        entry = tf.where(one != 0, one, tf.where(of_two != 0, of_two, of_three))
        hit = entry != 0
        at, size, entry = (tf.gather(each, tf.where(hit)[:, 0]) for each in (at, size, entry))
        entries = tf.tensor_scatter_nd_update(entries, at[:, tf.newaxis], entry)
        units = tf.tensor_scatter_nd_update(tf.ones_like(codes), at[:, tf.newaxis], size)
        opens, closes = (
            tf.math.unsorted_segment_sum(tf.ones_like(at), place, count + 1) for place in (at + 1, at + size)
        )
        return entries, tf.where(tf.cumsum(opens - closes)[:-1] > 0, 0, units)

    def _replaced(
        self, codes: tf.Tensor, entries: tf.Tensor, units: tf.Tensor, piece: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Replace code points, and find the origin of each result by the rules of the reference.

        The first results get the positions of the replaced code points, and further results the position of the last
        one. But the last result gets the position of a code point that is removed after it. Code points that are
        removed at the start of a piece are not counted: all positions in the piece are shifted by their number.
        """
        made, source, within = self._replacements(codes, tf.where(units == 0, self._nothing, entries))
        mine, stands_for = tf.gather(piece, source), tf.gather(units, source)
        index = source + tf.minimum(within, stands_for - 1)

        further = tf.cast(tf.reshape(tf.where(within >= stands_for), [-1]), tf.int32)
        after = tf.gather(source + stands_for, further)  # the code point after what is replaced
        is_there = tf.gather(tf.concat([piece, [-1]], 0), after) == tf.gather(mine, further)
        is_removed = is_there & (tf.gather(tf.concat([source, [tf.size(codes)]], 0), further + 1) > after)
        index = tf.tensor_scatter_nd_add(index, further[:, tf.newaxis], tf.cast(is_removed, tf.int32))

        first_made = tf.reshape(tf.where(mine != shifted(mine, -1)), [-1])  # of each piece that has results
        first = tf.cast(tf.reshape(tf.where(piece != shifted(piece, -1)), [-1]), tf.int32)  # of each piece
        pieces = tf.gather(mine, first_made)
        lost = tf.gather(source, first_made) - tf.gather(first, pieces)
        lost = tf.tensor_scatter_nd_update(tf.zeros_like(first), pieces[:, tf.newaxis], lost)
        return made, index - tf.gather(lost, mine)

    def _find(self, keys: tf.Tensor) -> tf.Tensor:
        """Entries of keys of several code points, 0: none."""
        at = tf.minimum(tf.searchsorted(self._keys, keys), tf.size(self._keys) - 1)
        return tf.where(tf.gather(self._keys, at) == keys, tf.gather(self._entries, at), 0)


def _packed(key: str) -> int:
    """A key of two or three code points as a number."""
    one, two, three = map(ord, (key + "\0")[:3])
    return (one * _BASE + two) * _BASE + three
