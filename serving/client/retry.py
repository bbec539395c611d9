"""Which failed call may be sent again, and when: pure, no clock and no I/O of its own.

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
    """What a failure means for the next attempt."""

    #: The same call would fail the same way, or may not be repeated.
    NEVER = "never"
    #: A message was over a limit: again in halves, if it can be halved.
    SMALLER = "smaller"
    #: The server or the connection failed: a bounded number of further attempts.
    AGAIN = "again"
    #: The server refused before it ran anything, for want of room: again until the deadline, more slowly.
    BUSY = "busy"


#: A server that is alive and has no room: TensorFlow Serving's threads and queue, ``rawbert serve``, grpc's own limit.
_BUSY: Final = "(?i)Threadpool Exhausted|batch scheduling queue|the server is busy|Concurrent RPC limit"
#: TLS was refused: no repetition mends a certificate.
_TLS: Final = "(?i)handshake failed|security handshaker|CERTIFICATE_VERIFY_FAILED|Peer name .* is not in|SSL_ERROR"
#: No server was reached: sending again is no load.
_UNREACHED: Final = "(?i)failed to connect|errors resolving|DNS|No route|unreachable|empty address"
_CUT: Final = "Stream removed|RST_STREAM|Cancelling all calls"
#: A call that was cancelled here, and not by a server that drops calls in a rush.
_OURS: Final = "(?i)locally cancelled|channel (was )?closed"
_BATCH: Final = r"Task size \d+ is larger than maximum input batch size (\d+)"


def verdict(code: grpc.StatusCode, details: str) -> Verdict:
    """Whether a call that failed so may be sent again."""
    if too_large(details):
        return Verdict.SMALLER
    if code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE) and re.search(_BUSY, details):
        return Verdict.BUSY
    if http_status(details) == 429:
        return Verdict.BUSY
    if code is grpc.StatusCode.UNAVAILABLE:
        # What ran out of time at a proxy may still run at the server: another call would run beside it.
        return Verdict.NEVER if re.search(_TLS, details) or timed_out_at_proxy(details) else Verdict.AGAIN
    cancelled = code is grpc.StatusCode.CANCELLED
    if (cancelled or code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)) and re.search(_CUT, details):
        return Verdict.AGAIN
    return Verdict.BUSY if cancelled and not re.search(_OURS, details) else Verdict.NEVER


def unreached(details: str) -> bool:
    """Whether a failure says that no server was reached."""
    return re.search(_UNREACHED, details) is not None


def batch_limit(code: grpc.StatusCode, details: str) -> int | None:
    """The server's largest batch, where it refused a call for its number of texts."""
    found = re.search(_BATCH, details) if code is grpc.StatusCode.INVALID_ARGUMENT else None
    return int(found[1]) if found else None


def backoff(policy: RetryPolicy, failures: int, verdict: Verdict) -> float:
    """Seconds to wait after the ``failures``-th failure: doubled each time, and jittered from half to whole.

    A busy server refuses cheaply and has room again soon: a quarter of ``max_backoff`` is the most there.
    """
    import random  # It takes a millisecond, and most programs never come here.

    most = policy.max_backoff / 4 if verdict is Verdict.BUSY else policy.max_backoff
    longest = min(most, policy.initial_backoff * 2.0 ** min(failures - 1, 30))
    return longest * random.uniform(0.5, 1.0)


class Budget:
    """Retries that all calls of a client share: a failing server is not met with a storm of them.

    A retry takes a token, an answer gives one back; where none is left, failures are raised at once. Calls that a
    busy server refused without running them take none, nor do those that reached no server.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Take a token, if there is one."""
        with self._lock:
            if not self._left:
                return False
            self._left -= 1
            return True

    def refund(self) -> None:
        """A call was answered."""
        if self._left < self._size:
            with self._lock:
                self._left = min(self._left + 1, self._size)
