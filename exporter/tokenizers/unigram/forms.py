"""Unicode's normalisation forms in the graph (Unicode Standard Annex 15), by tables that the reference is asked for.

Decomposition and canonical order first; NFC and NFKC compose again, pair by pair, all runs of the text at once.

Where results come from is what the tokenizers library says: each takes as many of the code points before as its parts
are the first of a decomposition, one after the other, and the place of the first of those; one without such a part has
the place of the one before it.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from .. import marks
from ..lookup import Lookup
from ..order import Order
from ..ragged import shifted
from ..tables import CODE_POINTS, each, paged
from . import reference
from .replacements import Replacements
from .spec import Step

_MARK = "\ue000"
_BASE = 1 << 21  # more than any code point


class Form:
    """NFC, NFD, NFKC or NFKD."""

    def __init__(self, step: Step) -> None:
        decompose = _normalize(step.type.replace("C", "D"))
        codes, splits, items = each(decompose, _MARK)
        table = marks.build(decompose, decompose, _MARK, np.zeros(CODE_POINTS, bool))
        self._order = Order(table)
        changed = (np.diff(splits) != 1) | (items[splits[:-1]] != codes)
        starts, stops = splits[:-1][changed], splits[1:][changed]
        texts = {
            code: items[start:stop].tolist()
            for code, start, stop in zip(codes[changed].tolist(), starts, stops, strict=True)
        }
        # Those with marks are decomposed when these are put in order.
        listed = set(table.codes.tolist())
        self._replacements = Replacements({code: text for code, text in texts.items() if code not in listed})
        concerned = np.zeros(CODE_POINTS, np.int32)
        concerned[[*texts, *listed]] = 1
        self._compose = None
        if step.type.endswith("C"):
            compose = _normalize(step.type)
            self._compose = Compose(decompose, compose, table)
            concerned[self._compose.seconds] = 1
        self._concerned = Lookup(paged(concerned))

    def __call__(self, codes: tf.Tensor, piece: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Normalise."""
        return tf.cond(
            tf.reduce_any(self._concerned(codes) > 0),
            lambda: self._normalized(codes, piece),
            lambda: (codes, tf.range(tf.size(codes))),
        )

    def _normalized(self, codes: tf.Tensor, piece: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        items, origin, is_first = self._order(codes, tf.zeros_like(codes, tf.bool), piece)
        items, source, within = self._replacements(items, self._replacements.look_up(items))
        origin, takes = tf.gather(origin, source), tf.cast(tf.gather(is_first, source) & (within == 0), tf.int32)
        if self._compose is None:
            return items, origin
        piece = tf.gather(piece, origin)
        items, head = self._compose(items, piece)
        kept = tf.cast(tf.reshape(tf.where(head == tf.range(tf.size(items))), [-1]), tf.int32)
        takes = tf.gather(tf.math.unsorted_segment_sum(takes, head, tf.size(items)), kept)
        index = tf.cumsum(takes, exclusive=True)
        return tf.gather(items, kept), tf.where(takes > 0, index, index - 1)


class Compose:
    """Canonical composition of what is decomposed and in order (D117)."""

    def __init__(self, decompose: Callable[[str], str], compose: Callable[[str], str], table: marks.MarkTable) -> None:
        codes, splits, items = each(compose, _MARK)
        whole = codes[(np.diff(splits) == 1) & (items[splits[:-1]] == codes)]
        pairs = {}
        for code in whole.tolist():
            parts = decompose(chr(code))
            first = compose(parts[:-1])
            if len(parts) > 1 and len(first) == 1 and compose(first + parts[-1]) == chr(code):
                pairs[ord(first) * _BASE + ord(parts[-1])] = code
        keys = np.array(sorted(pairs), np.int64)
        self.seconds = np.unique(keys % _BASE)
        self._keys, self._made = tf.constant(keys), tf.constant([pairs[key] for key in keys.tolist()], tf.int32)
        ranks = np.zeros(CODE_POINTS, np.int32)
        ranks[table.items] = table.ranks
        joins = np.zeros(CODE_POINTS, np.int32)
        joins[self.seconds] = 1
        self._rank, self._joins = Lookup(paged(ranks)), Lookup(paged(joins))

    def __call__(self, codes: tf.Tensor, piece: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Compose; the code points, and the index of the one that each is now a part of: its own, if of none."""
        count = tf.size(codes)
        ranks = self._rank(codes)
        # A run is something that joins nothing before it, and what may: step t takes the t-th of every run.
        starts = (piece != shifted(piece, -1)) | ((ranks == 0) & (self._joins(codes) == 0))
        begin = tf.cast(tf.reshape(tf.where(starts), [-1]), tf.int32)
        length = tf.concat([begin[1:], [count]], 0) - begin

        def step(
            at: tf.Tensor, codes: tf.Tensor, head: tf.Tensor, last: tf.Tensor, blocks: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            """``last``: of each run the last starter, -1: none; ``blocks``: rank of the mark before, if that stayed."""
            run = tf.cast(tf.reshape(tf.where(length > at), [-1]), tf.int32)
            place, starter, before = (tf.gather(begin, run) + at, tf.gather(last, run), tf.gather(blocks, run))
            code, rank = tf.gather(codes, place), tf.gather(ranks, place)
            key = tf.cast(tf.gather(codes, tf.maximum(starter, 0)), tf.int64) * _BASE + tf.cast(code, tf.int64)
            found = tf.minimum(tf.searchsorted(self._keys, key), tf.size(self._keys) - 1)
            joins = (starter >= 0) & ((before == 0) | (before < rank)) & (tf.gather(self._keys, found) == key)
            into = tf.boolean_mask(starter, joins)[:, tf.newaxis]
            codes = tf.tensor_scatter_nd_update(codes, into, tf.gather(self._made, tf.boolean_mask(found, joins)))
            head = tf.tensor_scatter_nd_update(head, place[:, tf.newaxis], tf.where(joins, starter, place))
            begins = ~joins & (rank == 0)
            at_run = run[:, tf.newaxis]
            last = tf.tensor_scatter_nd_update(last, at_run, tf.where(begins, place, starter))
            stays = tf.where(joins, before, tf.where((rank == 0) | (starter < 0), 0, rank))
            return at + 1, codes, head, last, tf.tensor_scatter_nd_update(blocks, at_run, stays)

        longest = tf.reduce_max(tf.concat([length, [0]], 0))
        state = (0, codes, tf.range(count), tf.fill(tf.shape(begin), -1), tf.zeros_like(begin))
        _, codes, head, _, _ = tf.while_loop(lambda at, *_: at < longest, step, state, parallel_iterations=1)
        return codes, head


def _normalize(form: str) -> Callable[[str], str]:
    normalizer = reference.normalizer([Step(form, f'{{"type":"{form}"}}')])
    made: Callable[[str], str] = normalizer.normalize_str
    return made
