"""Rows into parts of a call, and results back into the order of the rows: pure."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

from ..wire.messages import Row

T = TypeVar("T")

#: Most that a sorted stream reads before it sends: texts in parts of full size, bytes in parts of the most bytes.
_WINDOW_ROWS, _WINDOW_BYTES = 16, 4


class Batcher(Generic[T]):
    """Parts of a stream of rows, and its results in the order of the rows.

    Args:
        size: most rows in a part; asked anew for each.
        most_bytes: most bytes in a part, asked likewise; a row that is larger goes alone.
        sort: whether rows of similar length go together, as far as a window of 16 full parts allows.
    """

    def __init__(self, size: Callable[[], int], most_bytes: Callable[[], int], sort: bool = False) -> None:
        self._size = size
        self._most_bytes = most_bytes
        self._sort = sort
        self._part: list[Row] = []
        self._part_bytes = 0
        self._window: list[Row] = []
        self._window_bytes = 0
        self._falling = False
        self._orders: deque[Sequence[int]] = deque()
        self._held: list[T] = []

    def parts(self, rows: Iterable[Row]) -> Iterator[list[Row]]:
        """All parts of all rows."""
        for row in rows:
            yield from self.add(row)
        yield from self.end()

    def add(self, row: Row) -> Iterator[list[Row]]:
        """A further row; the parts that are whole by it."""
        if not self._sort:
            yield from self._put(row)
            return
        self._window.append(row)
        self._window_bytes += row_bytes(row)
        if (
            len(self._window) >= _WINDOW_ROWS * self._size()
            or self._window_bytes >= _WINDOW_BYTES * self._most_bytes()
        ):  # fmt: skip
            yield from self._sorted()

    def end(self) -> Iterator[list[Row]]:
        """There are no further rows; the parts that are left."""
        if self._window:
            yield from self._sorted()
        if self._part:
            yield self._cut()

    def results(self, values: Iterable[T]) -> Iterator[T]:
        """Results in the order in which their rows were sent; they come back in the order of the rows.

        Those of a sorted stream are held until their window is whole.
        """
        if not self._sort:
            yield from values
            return
        for value in values:
            self._held.append(value)
            if len(self._held) == len(self._orders[0]):
                held, self._held = self._held, []
                yield from (held[at] for at in np.argsort(self._orders.popleft()))

    def _sorted(self) -> Iterator[list[Row]]:
        order = by_length(self._window)
        if self._falling:
            # The part that two windows share holds the long ends of both, or the short ones.
            order.reverse()
        self._falling = not self._falling
        self._orders.append(order)
        rows = [self._window[at] for at in order]
        self._window, self._window_bytes = [], 0
        for row in rows:
            yield from self._put(row)

    def _put(self, row: Row) -> Iterator[list[Row]]:
        length = row_bytes(row)
        if self._part and (len(self._part) >= self._size() or self._part_bytes + length > self._most_bytes()):
            yield self._cut()
        self._part.append(row)
        self._part_bytes += length
        if len(self._part) >= self._size():
            yield self._cut()

    def _cut(self) -> list[Row]:
        part, self._part, self._part_bytes = self._part, [], 0
        return part


def row_bytes(row: Row) -> int:
    """About what a row adds to a request."""
    return sum(len(text) + 8 for text in row)


def by_length(rows: Sequence[Row]) -> list[int]:
    """Places of the rows, shortest first."""
    return sorted(range(len(rows)), key=lambda at: row_bytes(rows[at]))
