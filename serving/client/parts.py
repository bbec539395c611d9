"""Division of rows into the parts of a call, and results back in the order of the rows. No I/O."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Generic, TypeVar

import numpy as np

from ..wire.messages import Row

_LOG = logging.getLogger("rawbert.serving")

T = TypeVar("T")

#: Minimum size of a part in bytes, unless it is a single text.
_LEAST_BYTES: Final = 1000

#: Read-ahead of a sorted stream: in parts of the maximum number of texts, and in parts of the maximum number of bytes.
_WINDOW_ROWS, _WINDOW_BYTES = 16, 4


class Limits:
    """Maximum texts and bytes of a part; a larger row is sent alone."""

    def __init__(self, texts: int, size: int) -> None:
        self.texts, self.bytes = texts, size

    def lower(self, address: str, *, texts: int | None = None, size: int | None = None) -> None:
        """Record a server's limit of texts or bytes per call."""
        self.texts = min(self.texts, texts or self.texts)
        self.bytes = min(self.bytes, max(size or self.bytes, _LEAST_BYTES))
        _LOG.info("%s: at most %d texts and %d bytes per call", address, self.texts, self.bytes)


class Batcher(Generic[T]):
    """Parts of a stream of rows, and their results in the order of the rows.

    Args:
        limits: size of a part; read again for each part.
        sort: whether to group rows of similar length, within a window of 16 full parts.
    """

    def __init__(self, limits: Limits, sort: bool = False) -> None:
        self._limits = limits
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
        """Add a row; yields the parts that it completes."""
        if not self._sort:
            yield from self._put(row)
            return
        self._window.append(row)
        self._window_bytes += row_bytes(row)
        full = len(self._window) >= _WINDOW_ROWS * self._limits.texts
        if full or self._window_bytes >= _WINDOW_BYTES * self._limits.bytes:
            yield from self._sorted()

    def end(self) -> Iterator[list[Row]]:
        """End of the rows; yields the remaining parts."""
        if self._window:
            yield from self._sorted()
        if self._part:
            yield self._cut()

    def results(self, values: Iterable[T]) -> Iterator[T]:
        """Reorder results from the order of sending to the order of the rows.

        Results of a sorted stream are held until their window is complete.
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
            # Alternate directions: a part across two windows then contains the long ends of both, or the short ones.
            order.reverse()
        self._falling = not self._falling
        self._orders.append(order)
        rows = [self._window[at] for at in order]
        self._window, self._window_bytes = [], 0
        for row in rows:
            yield from self._put(row)

    def _put(self, row: Row) -> Iterator[list[Row]]:
        length = row_bytes(row)
        if self._part and (len(self._part) >= self._limits.texts or self._part_bytes + length > self._limits.bytes):
            yield self._cut()
        self._part.append(row)
        self._part_bytes += length
        if len(self._part) >= self._limits.texts:
            yield self._cut()

    def _cut(self) -> list[Row]:
        part, self._part, self._part_bytes = self._part, [], 0
        return part


def row_bytes(row: Row) -> int:
    """Approximate size of a row in a request, in bytes."""
    return sum(len(text) + 8 for text in row)


def by_length(rows: Sequence[Row]) -> list[int]:
    """Indices of the rows, shortest first."""
    return sorted(range(len(rows)), key=lambda at: row_bytes(rows[at]))
