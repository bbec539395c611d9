"""No call hangs or fails while a server can answer it: restarts, silent peers, dead addresses in a list.

Tests that need a separate network, such as dropped connections and names that move, are in test_serving_networks.py.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from command import SLOW_ON_THE_SECOND
from rawbert.serving import AsyncClient, Client, DeadlineExceeded, RetryPolicy, ServerUnavailable
from test_serving_faults import free_port

KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])


def calls(kind: Any, address: Any, timeouts: list[float], **settings: Any) -> list[float | str]:
    """Make calls one after the other; returns the answer or the name of the error of each."""
    answers: list[float | str] = []

    async def asked() -> None:
        async with AsyncClient(address, model="m", **settings) as client:
            for timeout in timeouts:
                try:
                    answers.append(float((await client.embed(["5"], timeout=timeout))[0, 1]))
                except Exception as error:
                    answers.append(type(error).__name__)

    if kind is AsyncClient:
        asyncio.run(asked())
        return answers
    with Client(address, model="m", **settings) as client:
        for timeout in timeouts:
            try:
                answers.append(float(client.embed(["5"], timeout=timeout)[0, 1]))
            except Exception as error:
                answers.append(type(error).__name__)
    return answers


@contextmanager
def silent_server() -> Iterator[str]:
    """A peer that accepts connections and never answers, like a machine that hangs."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        for each in (listener, *taken):
            each.close()


@pytest.mark.slow
@KINDS
def test_a_silent_server_in_a_list_is_passed_over(side: Any, kind: Any) -> None:
    with side.numbers() as server, silent_server() as silent:
        for addresses in ([silent, server.address], [server.address, silent]):
            begun = time.monotonic()
            assert calls(kind, addresses, [5.0] * 3 + [1.0] * 20) == [5] * 23
            assert time.monotonic() - begun < 12


@KINDS
def test_a_dead_address_in_a_list_is_passed_over(side: Any, kind: Any) -> None:
    with side.numbers() as server:
        begun = time.monotonic()
        assert calls(kind, ["127.0.0.1:1", server.address], [2.0] * 50) == [5] * 50
        assert time.monotonic() - begun < 10


@KINDS
def test_a_server_that_runs_out_of_time_is_passed_over(side: Any, kind: Any) -> None:
    """A server that listens and does not answer: an expired deadline does not count as an answer."""
    hung = threading.Event()
    with side.numbers(lambda request: hung.wait(20)) as slow, side.numbers() as server:
        found = calls(kind, [slow.address, server.address], [0.5] * 20)
        hung.set()
    assert found.count("DeadlineExceeded") <= 4
    assert found[-8:] == [5] * 8


@SLOW_ON_THE_SECOND
@KINDS
def test_a_single_server_that_restarts(side: Any, kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    port, servers = free_port(), []
    timer = threading.Timer(1.5, lambda: servers.append(side.numbers(port=port).__enter__()))
    timer.start()
    begun = time.monotonic()
    assert calls(kind, f"127.0.0.1:{port}", [30.0, 30.0]) == [5, 5]
    assert time.monotonic() - begun < 10
    timer.join()
    servers[0].__exit__()
    (said,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert f"waiting for 127.0.0.1:{port}" in said


@SLOW_ON_THE_SECOND
@KINDS
def test_a_server_that_goes_and_comes_under_calls(side: Any, kind: Any) -> None:
    port, stop = free_port(), threading.Event()

    def restart() -> None:
        for _ in range(3):
            with side.numbers(port=port):
                stop.wait(0.5)
            stop.wait(0.3)
        with side.numbers(port=port):
            stop.wait(60)

    thread = threading.Thread(target=restart)
    thread.start()
    begun, found = time.monotonic(), []
    while time.monotonic() - begun < 2.5:
        found += calls(kind, f"127.0.0.1:{port}", [20.0] * 20)
    stop.set()
    thread.join()
    assert set(found) == {5}


def test_attempts_end_where_they_are_limited() -> None:
    """Without a server: none ever exists."""
    begun = time.monotonic()
    with (
        Client("127.0.0.1:1", model="m", retry=RetryPolicy(max_attempts=3)) as client,
        pytest.raises(ServerUnavailable, match="3 attempts"),
    ):
        client.embed(["1"], timeout=30)
    assert time.monotonic() - begun < 10


@KINDS
def test_the_deadline_holds_where_nobody_answers(kind: Any) -> None:
    """Without a server: none ever answers."""
    with silent_server() as silent:
        begun = time.monotonic()
        assert set(calls(kind, silent, [0.5, 0.5])) <= {"DeadlineExceeded", "ServerUnavailable"}
        assert time.monotonic() - begun < 3


def test_ready_by_label_and_version(side: Any) -> None:
    async def asked(**which: Any) -> Any:
        async with AsyncClient(side.address, model="text") as client:
            return await client.wait_until_ready(**which)

    with Client(side.address, model="text") as client:
        for ready in (client.wait_until_ready, lambda **which: asyncio.run(asked(**which))):
            for which in ({}, {"version_label": "stable"}, {"version": 3}):
                assert [each.version for each in ready(timeout=20, **which)] == [3]
            for which in ({"version_label": "nope"}, {"version": 9}):
                with pytest.raises(ServerUnavailable, match="was not ready within"):
                    ready(timeout=0.4, **which)
        assert [each.version for each in client.status(version_label="stable")] == [3]
        with pytest.raises(Exception, match="label: nope"):
            client.status(version_label="nope")
    with pytest.raises(DeadlineExceeded), silent_server() as silent, Client(silent, model="m") as client:
        client.status(timeout=0.3)
