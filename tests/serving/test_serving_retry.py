"""Retries: failures that are sent again, and pauses, without a server or a clock."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from rawbert.serving import CallCancelled, RetryPolicy, ServerOverloaded, ServerUnavailable
from rawbert.serving.client.channel import Balancer
from rawbert.serving.client.exchange import Exchange, Operation, Shared
from rawbert.serving.client.parts import Limits
from rawbert.serving.client.retry import Budget, Verdict, backoff, batch_limit, verdict
from rawbert.serving.client.settings import CallOptions

CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (CODE.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted", Verdict.BUSY),
        (
            CODE.RESOURCE_EXHAUSTED,
            "Stream removed (CLIENT: Received message larger than max (5 vs. 4))",
            Verdict.SMALLER,
        ),
        (CODE.RESOURCE_EXHAUSTED, "quota", Verdict.NEVER),
        (CODE.UNKNOWN, "Received http2 header with status: 413", Verdict.SMALLER),
        (CODE.UNAVAILABLE, "Received http2 header with status: 504", Verdict.NEVER),
        (CODE.UNAVAILABLE, "upstream request timeout", Verdict.NEVER),
        (CODE.UNAVAILABLE, "Received http2 header with status: 503", Verdict.AGAIN),
        (CODE.UNAVAILABLE, "Received http2 header with status: 429", Verdict.BUSY),
        (CODE.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", Verdict.BUSY),
        (CODE.UNAVAILABLE, "Server Threadpool Exhausted: the server has 200 calls at once", Verdict.BUSY),
        (CODE.UNAVAILABLE, "the server is busy: the turn of the call would come too late", Verdict.BUSY),
        (CODE.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full", Verdict.BUSY),
        (CODE.UNAVAILABLE, "Stream removed (Socket closed)", Verdict.AGAIN),
        (CODE.UNAVAILABLE, "", Verdict.AGAIN),
        (CODE.UNAVAILABLE, "Ssl handshake failed (TSI_PROTOCOL_FAILURE)", Verdict.NEVER),
        (CODE.INTERNAL, "Received RST_STREAM with error code 2", Verdict.AGAIN),
        (CODE.INTERNAL, "XLA compilation disabled", Verdict.NEVER),
        (CODE.UNKNOWN, "Stream removed", Verdict.AGAIN),
        (CODE.CANCELLED, "Locally cancelled by application!", Verdict.NEVER),
        (CODE.CANCELLED, "Channel closed!", Verdict.NEVER),
        (CODE.CANCELLED, "the channel was closed", Verdict.NEVER),
        (CODE.CANCELLED, "", Verdict.BUSY),
        (CODE.CANCELLED, "the caller is gone", Verdict.BUSY),
        (CODE.CANCELLED, "Cancelling all calls", Verdict.AGAIN),
        (CODE.DEADLINE_EXCEEDED, "Deadline Exceeded", Verdict.NEVER),
        (CODE.INVALID_ARGUMENT, "Stream removed", Verdict.NEVER),
    ],
)
def test_verdicts(code: grpc.StatusCode, details: str, expected: Verdict) -> None:
    assert verdict(code, details) is expected


def test_batch_limit() -> None:
    message = "Task size 65 is larger than maximum input batch size 64"
    assert batch_limit(CODE.INVALID_ARGUMENT, message) == 64
    assert batch_limit(CODE.INTERNAL, message) is batch_limit(CODE.INVALID_ARGUMENT, "else") is None


def test_waits_double_up_to_a_limit() -> None:
    policy = RetryPolicy(initial_backoff=0.1, max_backoff=2)
    for failures, longest in ((1, 0.1), (2, 0.2), (5, 1.6), (6, 2.0), (1000, 2.0)):
        waits = [backoff(policy, failures, Verdict.AGAIN) for _ in range(200)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
    assert max(backoff(policy, 50, Verdict.BUSY) for _ in range(200)) <= 0.5


def test_the_budget() -> None:
    budget = Budget(2)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    budget.refund()
    assert [budget.spend() for _ in range(2)] == [True, False]
    for _ in range(5):
        budget.refund()
    assert [budget.spend() for _ in range(3)] == [True, True, False]


def test_servers_in_turn_and_past_those_that_failed() -> None:
    balancer = Balancer(3)
    assert [balancer.pick(0) for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    balancer.failed(1, now=10.0)
    assert {balancer.pick(10.01) for _ in range(6)} == {0, 2}
    assert {balancer.pick(10.01, frozenset({0})) for _ in range(6)} == {2}
    assert 1 in [balancer.pick(11.0) for _ in range(3)]
    for server in (0, 2, 1):
        balancer.failed(server, now=20.0)
    assert balancer.pick(20.01) in (0, 2)  # The first that may be tried again: 1 failed twice.
    balancer.answered(1)
    assert {balancer.pick(20.01) for _ in range(3)} == {1}


def test_a_server_that_took_the_whole_time_of_a_call_is_passed_over_for_longer() -> None:
    balancer = Balancer(2)
    balancer.failed(0, now=10.0, silent=True)
    assert {balancer.pick(14.9) for _ in range(4)} == {1}
    assert {balancer.pick(15.1) for _ in range(4)} == {0, 1}


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted", ServerOverloaded),
        (grpc.StatusCode.UNAVAILABLE, "Stream removed (Socket closed)", ServerUnavailable),
        (grpc.StatusCode.CANCELLED, "", CallCancelled),
    ],
)
def test_what_is_refused_for_good_ends_within_the_deadline(
    code: grpc.StatusCode, details: str, kind: type[Exception]
) -> None:
    """With a simulated clock; each attempt is refused at once."""
    shared = Shared("m", ("h:1",), RetryPolicy(), Budget(1000), Balancer(1), Limits(64, 10_000), None, 1, frozenset())
    operation = Operation[Any]("/Service/Predict", lambda rows, version: b"", lambda data, rows: (data, None))
    exchange = Exchange(operation, CallOptions(timeout=1.0), shared, iter([]), None)
    exchange.feed([(b"1",)])
    exchange.feed(None)
    times = [100.0]

    def run() -> None:
        while len(times) < 1000:
            for attempt in exchange.due(times[-1]):
                assert times[-1] + (attempt.timeout or 0) == pytest.approx(101)
                exchange.failed(attempt, code, details, times[-1], silent=False)
            times.append(times[-1] + (exchange.wait(times[-1]) or 0))

    with pytest.raises(kind, match="attempts"):
        run()
    assert len(times) >= 4
    # A pause is at most twice the time before it and 0.04 s more, and the one that would end after 101 is not made.
    assert 100.32 - 1e-6 < times[-1] < 101


@pytest.mark.parametrize(
    "settings",
    [{"max_attempts": 0}, {"initial_backoff": 0}, {"initial_backoff": 2}, {"budget": -1}],
)
def test_policies_that_cannot_be(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        RetryPolicy(**settings)  # type: ignore[arg-type]
