"""Checks before a request is read (API key, rate, size), and its metrics."""

import math
import time
from collections.abc import Callable
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import Kind, Refused, path_of, response
from .keys import Keys, digest
from .metrics import Metrics
from .settings import Limits

#: Paths without a key, for GET: probes, Prometheus, and the description of the API.
_OPEN: Final = ("/", "/health", "/live", "/ping", "/metrics", "/docs", "/redoc", "/openapi.json")
#: Status in the metrics for a caller that disconnected before an answer, as in nginx.
_GONE: Final = 499
#: Maximum number of callers with a stored rate; the least recent are removed first.
_CALLERS: Final = 10_000


class Rates:
    """Rate limit by a token bucket for each caller.

    Args:
        per_minute: size of a bucket, and requests added to it per minute.
        clock: time in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._buckets: dict[bytes, tuple[float, float]] = {}

    def take(self, caller: bytes) -> float:
        """Take one request; 0, or if none is left, the seconds until the next one."""
        now = self._clock()
        left, since = self._buckets.pop(caller, (float(self._most), now))
        left = min(left + (now - since) * self._most / 60, self._most)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / self._most
        self._buckets[caller] = (left if wait else left - 1, now)  # The dict is in order of the last request.
        while len(self._buckets) > _CALLERS:
            del self._buckets[next(iter(self._buckets))]
        return wait

    def headers(self, caller: bytes) -> list[tuple[bytes, bytes]]:
        """OpenAI's headers about the rate limit, for the response to a caller."""
        left, _ = self._buckets[caller]
        full = (self._most - left) * 60 / self._most
        values = {"limit": str(self._most), "remaining": str(int(left)), "reset": f"{full:.3f}s"}
        return [(f"x-ratelimit-{name}-requests".encode(), value.encode()) for name, value in values.items()]


class Guard:
    """ASGI middleware, see the module.

    Args:
        app: the protected app.
        keys: API keys, one of which each request must have; none for no keys.
        limits: limits of requests.
        metrics: counters of requests.
    """

    def __init__(self, app: ASGIApp, keys: Keys, limits: Limits, metrics: Metrics) -> None:
        self._app, self._keys, self._limits, self._metrics = app, keys, limits, metrics
        self._rates = Rates(limits.requests_per_minute) if limits.requests_per_minute else None
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # The ASGI server sends no body.
        begun, status = time.perf_counter(), _GONE
        path, rate = path_of(scope), list[tuple[bytes, bytes]]()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *rate]}
            await send(message)

        try:
            with self._metrics.in_flight.track_inprogress():
                try:
                    await self._pass(scope, receive, noted, path, rate)
                except Refused as error:
                    await response(error, path)(scope, receive, noted)
        finally:
            route = _route(scope)
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, path: str, rate: list[tuple[bytes, bytes]]
    ) -> None:
        """Answer or refuse a request; the headers of the caller's rate limit are appended to ``rate``."""
        if path in _OPEN and scope["method"] == "GET":
            await self._app(scope, receive, send)
            return
        caller = self._caller(scope)
        if self._rates:
            wait = self._rates.take(caller)
            rate += self._rates.headers(caller)
            if wait:
                said = f"more than {self._limits.requests_per_minute} requests per minute: wait and try again"
                raise Refused(Kind.LIMITED, said, retry_after=math.ceil(wait))
        if self._running >= self._limits.concurrent_requests:
            raise Refused(Kind.BUSY, f"more than {self._running} requests at once: try again", retry_after=1)
        self._running += 1
        try:
            body = await self._body(scope, receive)
            if body is not None:
                await self._app(scope, _again(body, receive), send)
        finally:
            self._running -= 1

    def _caller(self, scope: Scope) -> bytes:
        """The sender of a request: its key, or without keys its address; Refused for an unknown key."""
        if not self._keys:
            return (scope["client"] or ("",))[0].encode()
        header = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = header.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Refused(Kind.NO_KEY, "the request has no API key: send the header Authorization: Bearer KEY")
        caller = digest(key.strip())
        if not self._keys.knows(caller):
            raise Refused(Kind.NO_KEY, "the API key is unknown: check it")
        return caller

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body of a request, with its size checked; ``None`` if the caller disconnected."""
        most = self._limits.body_bytes
        too_large = Refused(Kind.TOO_LARGE, f"the request is larger than {most} bytes: send fewer texts")
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > most:
            raise too_large
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > most:
                raise too_large
        return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """A receive function that returns a body already read."""
    message: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def again() -> Message:
        nonlocal message
        first, message = message, None
        return await receive() if first is None else first

    return again


def _route(scope: Scope) -> str:
    """The route instead of the path, whose values are unbounded."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or "none"
