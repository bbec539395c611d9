"""Division of rows into parts, in their order or sorted by length, and results in the original order; no server."""

from __future__ import annotations

import random
from typing import Any

import pytest
from rawbert.serving.client.parts import Batcher, Limits


@pytest.mark.parametrize(("count", "size", "sizes"), [(0, 2, []), (1, 2, [1]), (4, 2, [2, 2]), (5, 2, [2, 2, 1])])
def test_parts_have_at_most_so_many_rows(count: int, size: int, sizes: list[int]) -> None:
    rows = [(str(at).encode(),) for at in range(count)]
    parts = list(Batcher[Any](Limits(size, 1000)).parts(rows))
    assert [len(part) for part in parts] == sizes
    assert [row for part in parts for row in part] == rows


def test_parts_are_bounded_in_bytes() -> None:
    rows = [(b"x" * length,) for length in (10, 10, 10, 500, 10, 10)]
    parts = list(Batcher[Any](Limits(4, 40)).parts(rows))
    assert [[len(text) for (text,) in part] for part in parts] == [[10, 10], [10], [500], [10, 10]]
    assert [row for part in parts for row in part] == rows


def lengths(count: int) -> list[tuple[bytes, ...]]:
    random.seed(count)
    return [(b"x" * random.randrange(200), str(at).encode()) for at in range(count)]


@pytest.mark.parametrize("count", [0, 1, 4, 63, 64, 65, 1000])
def test_a_sorted_stream_gives_each_row_its_own_result_in_order(count: int) -> None:
    batcher, rows, got = Batcher[bytes](Limits(4, 10_000), sort=True), lengths(count), []
    for part in batcher.parts(rows):
        got += batcher.results(number for _, number in part)
    assert got == [number for _, number in rows]


def test_a_sorted_stream_sends_similar_lengths_together_and_reads_a_window_ahead() -> None:
    batcher, rows = Batcher[Any](Limits(4, 10_000), sort=True), lengths(640)

    def padding(parts: list[Any]) -> int:
        return sum(
            max(len(text) for text, _ in part) * len(part) - sum(len(text) for text, _ in part) for part in parts
        )

    parts, most = [], 0
    for at, row in enumerate(rows, 1):
        parts += batcher.add(row)
        most = max(most, at - sum(map(len, parts)))
    parts += batcher.end()
    assert most <= 64 + 4
    assert padding(parts) < 0.2 * padding(list(Batcher[Any](Limits(4, 10_000)).parts(rows)))


def test_the_window_of_a_sorted_stream_is_bounded_in_bytes() -> None:
    batcher = Batcher[Any](Limits(64, 1000), sort=True)
    waiting = [len(list(batcher.add((b"x" * 992,)))) for _ in range(4)]
    assert waiting[:3] == [0, 0, 0]
    assert waiting[3] > 0
