"""A set of strings as a double-array trie (Aoe, 1989), and its traversal in the graph, from all positions at once.

States are slots of the arrays; the root is slot 0. The child of state s for the symbol c is slot ``base[s] + c``, if
``check`` of that slot is s.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

#: Number of slots checked at once.
_AT_ONCE = 512


@dataclass(frozen=True)
class Trie:
    """The arrays; every ``base`` plus any symbol is a valid slot.

    Attributes:
        base: int32 ``[slots]``.
        check: int32 ``[slots]``, the parent, -1: free.
        value: int32 ``[slots]``, value of the string that ends at the slot, -1: none.
        depth: length of the longest string in symbols.
    """

    base: np.ndarray
    check: np.ndarray
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
    base, check = np.zeros(size, np.int32), np.full(size, -1, np.int32)
    ends = np.full(size, -1, np.int32)
    used = np.zeros(size, bool)
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
            places = np.array([free if free >= below[0] else below[0] + np.argmin(used[below[0] :])])
        else:
            places = _fitting(used, below, free, top)
        base[slot[node]], check[places], used[places] = places[0] - below[0], slot[node], True
        top = max(top, int(places[-1]) + 1)
        for symbol, each in zip(below.tolist(), places.tolist(), strict=True):
            child = children[node][symbol]
            slot[child], ends[each] = each, values[child]
            heapq.heappush(queue, (-len(children[child]), child))
    size = top + symbols + 1
    return Trie(base[:size], check[:size], ends[:size], max(map(len, strings), default=0))


def _fitting(used: np.ndarray, below: np.ndarray, free: int, top: int) -> np.ndarray:
    """Free slots for some symbols: the first ones found, in the last used part of the arrays to limit the search."""
    last_part = max(free, top - int(below[-1] - below[0]) - 4 * _AT_ONCE)
    for start in (free, *range(last_part, len(used), _AT_ONCE)):
        first = start + np.flatnonzero(~used[start : start + _AT_ONCE])
        first = first[(first >= below[0]) & (first < len(used) - below[-1] + below[0])]
        fits = ~used[(first - below[0])[:, np.newaxis] + below].any(1)
        if fits.any():
            found: np.ndarray = first[fits.argmax()] - below[0] + below
            return found
    raise AssertionError("the array has room for every state after the last used slot")


class Walk:
    """Traversal of a trie in the graph."""

    def __init__(self, trie: Trie) -> None:
        self._base, self._check, self._value = (tf.constant(each) for each in (trie.base, trie.check, trie.value))
        self._depth = trie.depth
        self._nowhere = len(trie.base) - 1  # the parent of no slot

    def __call__(self, symbols: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        """Find the strings that begin at some positions.

        Args:
            symbols: int32 ``[C]``, 0 where every string ends; at least ``depth`` zeros follow the last position.
            starts: int32 ``[N]``, positions in ``symbols``.

        Returns:
            int32 ``[depth, N]``: value of the string of 1, 2 ... symbols that begins at each position, -1: none.
        """
        ahead = tf.gather(symbols, tf.range(self._depth)[:, tf.newaxis] + starts[tf.newaxis, :])
        node, nodes = tf.zeros_like(starts), []
        for symbol in tf.unstack(ahead, self._depth):
            child = tf.gather(self._base, node) + symbol
            # No slot is a child for symbol 0.
            node = tf.where(tf.gather(self._check, child) == node, child, self._nowhere)
            nodes.append(node)
        return tf.gather(self._value, tf.stack(nodes))
