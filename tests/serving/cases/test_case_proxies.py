"""Answers of proxies in place of the server: HTTP statuses, over real HTTP/2; and hints about connections.

These tests need no server, because a call that a proxy refuses does not reach one.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import pytest
from rawbert.serving import (
    TLS,
    AsyncClient,
    ChannelConfig,
    Client,
    DeadlineExceeded,
    MessageTooLarge,
    RetryPolicy,
    ServerFault,
    ServerUnavailable,
    ServingError,
    SignatureNotFound,
)
from rawbert.serving.errors import from_status

DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def headers(*pairs: tuple[str, str]) -> bytes:
    """HPACK, with each header as a literal without indexing."""
    return b"".join(b"\0" + text(name) + text(value) for name, value in pairs)


@contextmanager
def proxy(decide: Callable[[bytes], str | bytes]) -> Iterator[str]:
    """``decide``: request -> an HTTP status, or the answer to the request."""

    def talk(near: socket.socket) -> None:
        stream = near.makefile("rb")
        stream.read(24)  # The preface.
        near.sendall(frame(SETTINGS, 0, 0))
        bodies: dict[int, bytes] = {}
        while head := stream.read(9):
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            at, body = int.from_bytes(head[5:], "big"), stream.read(length)
            if kind in (SETTINGS, PING) and not flags & 1:
                near.sendall(frame(kind, 1, 0, body if kind == PING else b""))
            if kind == DATA:
                bodies[at] = bodies.get(at, b"") + body
                if body:
                    near.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(body))))
                if flags & 1:
                    said = decide(bodies.pop(at)[5:])
                    if isinstance(said, str):
                        near.sendall(frame(HEADERS, 5, at, headers((":status", said))))
                        continue
                    near.sendall(
                        frame(HEADERS, 4, at, headers((":status", "200"), ("content-type", "application/grpc")))
                        + frame(DATA, 0, at, b"\0" + struct.pack(">I", len(said)) + said)
                        + frame(HEADERS, 5, at, headers(("grpc-status", "0")))
                    )

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=quiet, args=(near,), daemon=True).start()

    def quiet(near: socket.socket) -> None:
        with near, suppress(OSError):
            talk(near)

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def answer(side: Any) -> Iterator[Callable[[bytes], bytes]]:
    """The server's answer to a request."""
    with grpc.insecure_channel(side.address) as channel:
        yield channel.unary_unary("/tensorflow.serving.PredictionService/Predict")


def both(address: str, call: Callable[[Any], Any], **settings: Any) -> list[Any]:
    async def asked() -> Any:
        async with AsyncClient(address, model="m", **settings) as client:
            return await call(client)

    with Client(address, model="m", **settings) as client:
        return [call(client), asyncio.run(asked())]


def test_parts_get_smaller_where_a_proxy_says_413(answer: Any) -> None:
    sizes: list[int] = []

    def decide(data: bytes) -> str | bytes:
        sizes.append(len(data))
        return "413" if len(data) > 2000 else answer(data)

    asked = [str(at) + "x" * (at % 90) for at in range(300)]
    with proxy(decide) as address:
        for vectors in both(address, lambda client: client.embed(asked)):
            assert vectors[:, 1].tolist() == list(range(300))
        with Client(address, model="m") as client:
            client.embed(asked)
            sizes.clear()
            client.embed(asked)
            assert max(sizes) <= 2000  # It was learnt.
            with pytest.raises(MessageTooLarge, match="client_max_body_size"):
                client.embed(["1" + "x" * 3000])
            assert len(sizes) < 30


def test_parts_get_smaller_for_the_limits_of_grpc(side: Any) -> None:
    asked = [str(at) + "x" * 90 for at in range(300)]
    with side.numbers(options=[("grpc.max_receive_message_length", 2000)]) as server:
        for vectors in both(server.address, lambda client: client.embed(asked)):
            assert vectors[:, 1].tolist() == list(range(300))
        with Client(server.address, model="m") as client, pytest.raises(MessageTooLarge, match="max_batch_size"):
            client.embed(["1" + "x" * 3000])
    with Client(side.address, model="m", config=ChannelConfig(max_message_bytes=3000)) as client:
        assert client.embed([str(at) for at in range(1000)])[:, 1].tolist() == list(range(1000))


def test_a_time_out_at_a_proxy_is_one_call_at_the_server() -> None:
    calls: list[int] = []
    for status in ("504", "408", "524"):
        calls.clear()
        with (
            proxy(lambda data, status=status: calls.append(1) or status) as address,  # type: ignore[misc,func-returns-value]
            Client(address, model="m") as client,
            pytest.raises(DeadlineExceeded, match="a proxy ended the call"),
        ):
            client.embed(["1"], timeout=5)
        assert len(calls) == 1


def test_a_proxy_that_finds_no_server_for_a_while(answer: Any) -> None:
    statuses = ["503", "502", "429"]
    with (
        proxy(lambda data: statuses.pop() if statuses else answer(data)) as address,
        Client(address, model="m") as client,
    ):
        assert client.embed(["1"], timeout=5)[0, 1] == 1


def refused(address: str, **settings: Any) -> str:
    once = RetryPolicy(max_attempts=2)
    with Client(address, model="m", retry=once, **settings) as client, pytest.raises(ServerUnavailable) as caught:
        client.embed(["1"], timeout=5)
    return str(caught.value)


def test_hints(side: Any) -> None:
    assert "nothing listens at 127.0.0.1:1: start a server with rawbert serve" in refused("127.0.0.1:1")
    assert "the server's name cannot be looked up" in refused("nowhere.invalid:8500")
    assert "does not speak TLS" in refused(side.address, tls=TLS())


def test_a_proxy_of_the_environment(side: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        with monkeypatch.context() as environment:
            environment.setenv(name, "http://127.0.0.1:1")
            assert "http_proxy=False" in refused(side.address)
            with Client(side.address, model="m", config=ChannelConfig(http_proxy=False)) as client:
                assert client.embed(["1"], timeout=5)[0, 1] == 1
            environment.setenv("no_proxy", "127.0.0.1")
            with Client(side.address, model="m") as client:
                assert client.embed(["1"], timeout=5)[0, 1] == 1


def test_a_graph_that_fails_is_no_missing_signature() -> None:
    def made(details: str) -> ServingError:
        return from_status(grpc.StatusCode.FAILED_PRECONDITION, details, "Predict", "h:1")

    assert type(made('Serving signature key "nope" not found.')) is SignatureNotFound
    assert type(made("Table not initialized.")) is ServerFault
