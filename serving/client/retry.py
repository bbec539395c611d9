"""Retries: the failed calls that may be sent again, and the pauses before them. No clock and no I/O.

gRPC's configured retries stop at 5 attempts, skip large requests and answers cut midway, and cannot tell the two
kinds of RESOURCE_EXHAUSTED apart. Predict computes and changes nothing, so sending it again is safe.
"""

import re
import threading
from enum import Enum
from typing import Final

import grpc

from ..errors import http_status, timed_out_at_proxy, too_large
from .settings import RetryPolicy


class Verdict(Enum):
    """The effect of a failure on the next attempt."""

    #: The same call would fail again, or must not be repeated.
    NEVER = "never"
    #: A message was over a limit: send it again in halves, if it can be divided.
    SMALLER = "smaller"
    #: The server or the connection failed: a limited number of further attempts.
    AGAIN = "again"
    #: The server was full and refused the call before running it: again until the deadline, more slowly.
    BUSY = "busy"


#: Messages of a server that is alive but full: TensorFlow Serving's threads and queue, ``rawbert serve``, gRPC's limit.
_BUSY: Final = "(?i)Threadpool Exhausted|batch scheduling queue|the server is busy|Concurrent RPC limit"
#: TLS was refused: a retry does not change a certificate.
_TLS: Final = "(?i)handshake failed|security handshaker|CERTIFICATE_VERIFY_FAILED|Peer name .* is not in|SSL_ERROR"
#: No server was reached: a retry adds no load.
_UNREACHED: Final = "(?i)failed to connect|errors resolving|DNS|No route|unreachable|empty address"
_CUT: Final = "Stream removed|RST_STREAM|Cancelling all calls"
#: A call cancelled by this client, not by a server that drops calls.
_OURS: Final = "(?i)locally cancelled|channel (was )?closed"
_BATCH: Final = r"Task size \d+ is larger than maximum input batch size (\d+)"


def verdict(code: grpc.StatusCode, details: str) -> Verdict:
    """Whether a call with this failure may be sent again."""
    if too_large(details):
        return Verdict.SMALLER
    if code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE) and re.search(_BUSY, details):
        return Verdict.BUSY
    if http_status(details) == 429:
        return Verdict.BUSY
    if code is grpc.StatusCode.UNAVAILABLE:
        # A call that timed out at a proxy may still run on the server: a retry would run in parallel.
        return Verdict.NEVER if re.search(_TLS, details) or timed_out_at_proxy(details) else Verdict.AGAIN
    cancelled = code is grpc.StatusCode.CANCELLED
    if (cancelled or code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)) and re.search(_CUT, details):
        return Verdict.AGAIN
    return Verdict.BUSY if cancelled and not re.search(_OURS, details) else Verdict.NEVER


def unreached(details: str) -> bool:
    """Whether the failure means that no server was reached."""
    return re.search(_UNREACHED, details) is not None


def batch_limit(code: grpc.StatusCode, details: str) -> int | None:
    """The server's largest batch, if it refused a call for its number of texts."""
    found = re.search(_BATCH, details) if code is grpc.StatusCode.INVALID_ARGUMENT else None
    return int(found[1]) if found else None


def backoff(policy: RetryPolicy, failures: int, verdict: Verdict) -> float:
    """Seconds to wait after the ``failures``-th failure: doubled each time, times a random factor from 0.5 to 1.

    A full server refuses at little cost and is soon free again: there the maximum is a quarter of ``max_backoff``.
    """
    import random  # This import takes a millisecond, and most programs never need it.

    most = policy.max_backoff / 4 if verdict is Verdict.BUSY else policy.max_backoff
    longest = min(most, policy.initial_backoff * 2.0 ** min(failures - 1, 30))
    return longest * random.uniform(0.5, 1.0)


class Budget:
    """Retry budget shared by all calls of a client, which protects a failing server from a storm of retries.

    A retry takes a token, an answer returns one; without tokens, failures are raised at once. Retries of calls that a
    full server refused without running them, or that reached no server, take no token.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Take a token; whether there was one."""
        with self._lock:
            if not self._left:
                return False
            self._left -= 1
            return True

    def refund(self) -> None:
        """Return a token after an answered call."""
        if self._left < self._size:
            with self._lock:
                self._left = min(self._left + 1, self._size)
