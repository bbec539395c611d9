"""A set of strings as a double-array trie (Aoe, 1989), and its traversal in the graph, from all positions at once.

States are slots of one array, and each slot is a number of three parts: the symbol that leads there, the base of its
children, and the value of the string that ends there. The child of a state by the symbol c is slot ``base + c``, if
that slot has the symbol c; no two states have the same base, so that this tells whose child it is.

Shape letters: C symbols, N places where strings may begin, E strings found.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

#: Number of slots checked at once.
_AT_ONCE = 512


@dataclass(frozen=True)
class Trie:
    """The slots; every base plus any symbol, 0 included, is one.

    Attributes:
        symbol: int64 ``[slots]``, the symbol that leads there, -1: free. The root is slot 0.
        base: int64 ``[slots]``, where the children's slots are counted from; of what has none, only free slots follow.
        value: int64 ``[slots]``, value of the string that ends there, -1: none.
        depth: symbols of the longest string.
    """

    symbol: np.ndarray
    base: np.ndarray
    value: np.ndarray
    depth: int


def build(strings: Mapping[Sequence[int], int], symbols: int) -> Trie:
    """The trie of strings of symbols from 1 to ``symbols``, each with a value.

    States with many children are placed first, each at the first place with free slots for its children. Low numbers
    for frequent symbols give smaller arrays.
    """
    children: list[dict[int, int]] = [{}]
    values = [-1]
    for string, value in strings.items():
        node = 0
        for symbol in string:
            child = children[node].get(symbol)
            if child is None:
                child = children[node][symbol] = len(children)
                children.append({})
                values.append(-1)
            node = child
        values[node] = value

    size = 4 * (len(children) + symbols + _AT_ONCE)
    symbol_of, base, ends = (np.full(size, -1, np.int64) for _ in range(3))
    used, taken = np.zeros(size, bool), np.zeros(size, bool)  # slots, and bases
    used[0] = True
    slot = np.zeros(len(children), np.int64)
    queue = [(-len(children[0]), 0)]
    free, top = 1, 1
    while queue:
        _, node = heapq.heappop(queue)
        if not children[node]:
            continue
        below = np.array(sorted(children[node]))
        while used[free]:
            free += 1
        if len(below) == 1:
            place = max(free, below[0])
            while used[place] or taken[place - below[0]]:
                place += 1
            places = np.array([place])
        else:
            places = _fitting(used, taken, below, free, top)
        base[slot[node]] = places[0] - below[0]
        symbol_of[places], used[places], taken[places[0] - below[0]] = below, True, True
        top = max(top, int(places[-1]) + 1)
        for symbol, each in zip(below.tolist(), places.tolist(), strict=True):
            child = children[node][symbol]
            slot[child], ends[each] = each, values[child]
            heapq.heappush(queue, (-len(children[child]), child))
    size = top + symbols + 1
    base = np.where(base < 0, top, base)
    return Trie(symbol_of[:size], base[:size], ends[:size], max(map(len, strings), default=0))


def _fitting(used: np.ndarray, taken: np.ndarray, below: np.ndarray, free: int, top: int) -> np.ndarray:
    """Free slots for some symbols, from a base that no other state has: the first ones, or in the last part that is
    used, so as not to look for long."""
    last_part = max(free, top - int(below[-1] - below[0]) - 4 * _AT_ONCE)
    for start in (free, *range(last_part, len(used), _AT_ONCE)):
        first = start + np.flatnonzero(~used[start : start + _AT_ONCE])
        first = first[(first >= below[0]) & (first < len(used) - below[-1] + below[0])]
        fits = ~used[(first - below[0])[:, np.newaxis] + below].any(1) & ~taken[first - below[0]]
        if fits.any():
            found: np.ndarray = first[fits.argmax()] - below[0] + below
            return found
    raise AssertionError("the array has room for every state after the last used slot")


class Found(NamedTuple):
    """Strings of a trie found in a sequence, the shorter ones first."""

    start: tf.Tensor  # int32 [E], the place where it begins
    size: tf.Tensor  # int32 [E], its symbols
    value: tf.Tensor  # int32 [E]


class Walk:
    """Traversal of a trie in the graph."""

    def __init__(self, trie: Trie) -> None:
        self._symbol_bits, self._base_bits = (int(each.max() + 2).bit_length() for each in (trie.symbol, trie.base))
        assert self._symbol_bits + self._base_bits + int(trie.value.max() + 2).bit_length() < 64
        free = (1 << self._symbol_bits) - 1  # of a free slot, which no symbol leads to
        symbol = np.where(trie.symbol < 0, free, trie.symbol)
        slots = ((trie.value + 1) << self._base_bits | trie.base) << self._symbol_bits | symbol
        self._slots, self._root, self._nowhere = tf.constant(slots), int(slots[0]), int(slots[-1])
        self._depth = trie.depth

    def __call__(self, symbols: tf.Tensor, count: tf.Tensor) -> Found:
        """The strings that begin at the first ``count`` places.

        Args:
            symbols: int32 ``[C]``, 0 where no string can go on; at least the last ``depth`` of them are 0.
            count: int32, C - depth at most.
        """
        place = tf.range(count)
        slot = tf.fill([count], tf.constant(self._root, tf.int64))
        starts, sizes, slots = [], [], []
        for size in range(1, self._depth + 1):
            symbol = tf.cast(tf.gather(symbols, place + (size - 1)), tf.int64)
            base = tf.bitwise.bitwise_and(tf.bitwise.right_shift(slot, self._symbol_bits), (1 << self._base_bits) - 1)
            slot = tf.gather(self._slots, base + symbol)
            alive = tf.bitwise.bitwise_and(slot, (1 << self._symbol_bits) - 1) == symbol
            if size & (size - 1) == 0:  # places where nothing goes on are left out now and then
                kept = tf.reshape(tf.where(alive), [-1])
                place, slot = tf.gather(place, kept), tf.gather(slot, kept)
            else:
                slot = tf.where(alive, slot, self._nowhere)
            starts.append(place)
            sizes.append(tf.fill(tf.shape(place), size))
            slots.append(slot)
        value = tf.cast(tf.bitwise.right_shift(tf.concat(slots, 0), self._symbol_bits + self._base_bits), tf.int32) - 1
        ends = tf.reshape(tf.where(value >= 0), [-1])
        return Found(*(tf.gather(each, ends) for each in (tf.concat(starts, 0), tf.concat(sizes, 0), value)))
