"""Deadlines in all cases: no report from gRPC, slow consumers, further calls for error messages."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from official_server import Official, number_server
from rawbert.serving import AsyncClient, CallRecord, Client, DeadlineExceeded, ServerUnavailable, SignatureNotFound
from watched import Refusal


class Timeless(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """An interceptor that removes the deadline, so that gRPC does not end the call."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details._replace(timeout=None), request)


class AsyncTimeless(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details._replace(timeout=None), request)


def test_a_deadline_is_kept_where_grpc_says_nothing() -> None:
    records: list[CallRecord] = []

    async def asked(address: str) -> None:
        async with AsyncClient(address, model="m", interceptors=[AsyncTimeless()], on_call=records.append) as client:
            await client.embed(["1"] * 200, timeout=0.2)

    ended = threading.Event()
    with number_server(lambda request: ended.wait(20)) as server:
        begun = time.monotonic()
        with (
            Client(server.address, model="m", interceptors=[Timeless()], on_call=records.append) as client,
            pytest.raises(DeadlineExceeded, match="DEADLINE_EXCEEDED: Deadline Exceeded"),
        ):
            client.embed(["1"] * 200, timeout=0.2)
        assert time.monotonic() - begun < 5
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="DEADLINE_EXCEEDED: Deadline Exceeded"):
            asyncio.run(asked(server.address))
        assert time.monotonic() - begun < 5
        ended.set()
    assert {record.code for record in records} == {grpc.StatusCode.DEADLINE_EXCEEDED}


def test_the_time_of_a_slow_consumer_is_not_that_of_the_calls() -> None:
    """A part that fails while the consumer is busy is still sent again."""
    failed: set[int] = set()

    def once(request: Any) -> None:
        number = int(request.inputs["text"].string_val[0])
        if number and number not in failed:
            failed.add(number)
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "gone")

    async def asked(address: str) -> list[float]:
        got = []
        async with AsyncClient(address, model="m", max_batch_size=1) as client:
            stream = client.embed_iter([str(at) for at in range(6)], timeout=0.3)
            assert isinstance(stream, AsyncIterator)
            async for vector in stream:
                got.append(float(vector[1]))
                await asyncio.sleep(0.5 if vector[1] in (0, 3) else 0)
        return got

    with number_server(once) as server:
        with Client(server.address, model="m", max_batch_size=1) as client:
            got = []
            for vector in client.embed_iter([str(at) for at in range(6)], timeout=0.3):
                got.append(float(vector[1]))
                time.sleep(0.5 if vector[1] in (0, 3) else 0)
        assert got == list(range(6))
        failed.clear()
        assert asyncio.run(asked(server.address)) == got


def test_an_error_is_explained_within_the_deadline() -> None:
    class Slow(Official):
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            if details.method.endswith("Predict"):
                return super().intercept_service(continuation, details)
            return grpc.unary_unary_rpc_method_handler(lambda data, context: ended.wait(20) or b"")

    def refuse(request: Any) -> None:
        raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "embed" not found.')

    ended = threading.Event()
    with Slow(before=refuse) as server, Client(server.address, model="m") as client:
        begun = time.monotonic()
        with pytest.raises(SignatureNotFound):
            client.embed(["1"], timeout=1)
        assert time.monotonic() - begun < 6
        begun = time.monotonic()
        with pytest.raises(ServerUnavailable, match="was not ready within"):
            client.wait_until_ready(timeout=0.4)
        assert time.monotonic() - begun < 6
        ended.set()
