"""OpenTelemetry's own gRPC instrumentation sees the calls of both clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from official_server import number_server
from rawbert.serving import AsyncClient, Client, RetryPolicy, ServerUnavailable
from watched import Refusal

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="it records the spans")
export = pytest.importorskip("opentelemetry.sdk.trace.export", reason="it records the spans")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter", reason="it records the spans")
instrumentation = pytest.importorskip("opentelemetry.instrumentation.grpc", reason="it makes the spans")

METHOD = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def recorded() -> Any:
    from opentelemetry import trace

    # The instrumentation of the sync client takes the provider of the process, whatever it is given.
    exporter, provider = memory.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(recorded: Any) -> Iterator[Any]:
    """The spans that were recorded during the test."""
    recorded.clear()
    instrumentors = instrumentation.GrpcInstrumentorClient(), instrumentation.GrpcAioInstrumentorClient()
    for each in instrumentors:
        each.instrument()
    try:
        yield recorded
    finally:
        for each in instrumentors:
            each.uninstrument()


def test_a_span_for_each_call_to_a_server(spans: Any) -> None:
    async def asked(address: str) -> None:
        async with AsyncClient(address, model="m", max_batch_size=2) as client:
            await client.embed(["1", "2", "3"])

    with number_server() as server:
        with Client(server.address, model="m", max_batch_size=2) as client:
            assert client.embed(["1", "2", "3"])[:, 1].tolist() == [1, 2, 3]
        assert [span.name for span in spans.get_finished_spans()] == [METHOD] * 2
        spans.clear()
        asyncio.run(asked(server.address))
        assert [span.name for span in spans.get_finished_spans()] == [METHOD] * 2


def test_failures_are_seen_as_such(spans: Any) -> None:
    def refuse(request: Any) -> None:
        raise Refusal(grpc.StatusCode.UNAVAILABLE, "gone")

    with (
        number_server(refuse) as server,
        Client(server.address, model="m", retry=RetryPolicy(max_attempts=3)) as client,
        pytest.raises(ServerUnavailable, match="3 attempts"),
    ):
        client.embed(["1"])
    finished = spans.get_finished_spans()
    assert [span.name for span in finished] == [METHOD] * 3
    assert {span.status.is_ok for span in finished} == {False}
