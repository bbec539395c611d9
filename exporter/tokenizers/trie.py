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
        base: int64 ``[slots]``, slot from which the children are counted; after that of a leaf, all slots are free.
        value: int64 ``[slots]``, value of the string that ends there, 0: none.
        depth: symbols of the longest string.
    """

    symbol: np.ndarray
    base: np.ndarray
    value: np.ndarray
    depth: int


def build(strings: Mapping[Sequence[int], int], symbols: int) -> Trie:
    """The trie of strings of symbols from 1 to ``symbols``, each with a value above 0.

    States with many children are placed first, each at the first place with free slots for its children. Low numbers
    for frequent symbols give smaller arrays.
    """
    children: list[dict[int, int]] = [{}]
    values = [0]
    for string, value in strings.items():
        node = 0
        for symbol in string:
            child = children[node].get(symbol)
            if child is None:
                child = children[node][symbol] = len(children)
                children.append({})
                values.append(0)
            node = child
        values[node] = value

    size = 4 * (len(children) + symbols + _AT_ONCE)
    symbol_of, base, ends = np.full(size, -1), np.full(size, -1), np.zeros(size, np.int64)
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
    """Free slots for some symbols, from a base that no other state has.

    The search begins at the first free slot, and then goes to the last part in use, so that it does not take long.
    """
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
    """Strings of a trie found in a sequence, the shorter ones first, and those of one length from left to right.

    All single symbols are among them, also those that are no string; their value is 0.
    """

    first: tf.Tensor  # int32 [E], the first place
    last: tf.Tensor  # int32 [E], the last place
    value: tf.Tensor  # int32 [E]


class Walk:
    """Traversal of a trie in the graph."""

    def __init__(self, trie: Trie) -> None:
        symbol_bits, value_bits, base_bits = (
            (int(each.max(initial=0)) + 1).bit_length() for each in (trie.symbol, trie.value, trie.base)
        )
        assert symbol_bits + value_bits + base_bits < 64
        self._symbol_mask, self._value_mask = (1 << symbol_bits) - 1, (1 << value_bits) - 1
        self._value_at, self._base_at = symbol_bits, symbol_bits + value_bits
        symbol = np.where(trie.symbol < 0, self._symbol_mask, trie.symbol)  # no symbol leads to a free slot
        slots = trie.base << self._base_at | trie.value << self._value_at | symbol
        self._slots, self._root, self._nowhere = tf.constant(slots), int(slots[0]), int(slots[-1])
        self._depth = trie.depth

    def __call__(self, symbols: tf.Tensor, count: tf.Tensor) -> Found:
        """The strings that begin at the first ``count`` places.

        Args:
            symbols: int64 ``[C]``, 0 for symbols of no string; at least the last ``depth`` of them are 0.
            count: int32, C - depth at most.
        """
        place = tf.range(count)
        slot = tf.constant(self._root, tf.int64)
        firsts, lasts, slots = [], [], []
        for size in range(1, self._depth + 1):
            last = place + (size - 1)
            symbol = tf.gather(symbols, last)
            slot = tf.gather(self._slots, tf.bitwise.right_shift(slot, self._base_at) + symbol)
            alive = tf.bitwise.bitwise_and(slot, self._symbol_mask) == symbol
            slot = tf.where(alive, slot, self._nowhere)
            firsts.append(place)
            lasts.append(last)
            slots.append(slot)
            if size & (size - 1) == 0:  # from time to time, leave out places where no string continues
                kept = tf.where(alive)[:, 0]
                place, slot = tf.gather(place, kept), tf.gather(slot, kept)
        value = tf.bitwise.bitwise_and(tf.bitwise.right_shift(tf.concat(slots, 0), self._value_at), self._value_mask)
        found = tf.where((value > 0) | (tf.range(tf.size(value)) < count))[:, 0]
        first, last = tf.concat(firsts, 0), tf.concat(lasts, 0)
        return Found(tf.gather(first, found), tf.gather(last, found), tf.cast(tf.gather(value, found), tf.int32))
