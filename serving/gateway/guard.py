"""What a request passes before it is read: API keys, rates, sizes. And what is measured of it."""

import hashlib
import hmac
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import Kind, Refused, path_of, response
from .metrics import Metrics
from .settings import Limits

#: What is answered without a key, to GET and HEAD: for probes and Prometheus, and the description of the API.
_OPEN: Final = ("/", "/health", "/live", "/ping", "/metrics", "/docs", "/redoc", "/openapi.json")
#: Callers without keys of whom rates are kept at most; those that have been quiet go first.
_CALLERS: Final = 10_000


class Rates:
    """How many requests each caller may still send: a bucket a caller, which fills at the rate that is allowed.

    Args:
        per_minute: size of a bucket, and what comes into it in a minute.
        clock: seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._buckets: dict[bytes, tuple[float, float]] = {}

    def take(self, caller: bytes) -> float:
        """Take one request; the seconds after which the caller may come again, or 0 where there was one left."""
        now = self._clock()
        left, since = self._buckets.pop(caller, (float(self._most), now))
        left = min(left + (now - since) * self._most / 60, self._most)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / self._most
        self._buckets[caller] = (left if wait else left - 1, now)  # The last to come is the last of the dict.
        while len(self._buckets) > _CALLERS:
            del self._buckets[next(iter(self._buckets))]
        return wait


class Guard:
    """ASGI middleware, see the module.

    Args:
        app: what is guarded.
        keys: API keys, one of which must come with a request; none where it is open.
        limits: of requests.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str], limits: Limits, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._keys = [_digest(key.encode()) for key in keys]
        self._rates = Rates(limits.requests_per_minute) if limits.requests_per_minute else None
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500
        path = path_of(scope)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with self._metrics.in_flight.track_inprogress():
                try:
                    await self._pass(scope, receive, noted, path)
                except Refused as error:
                    await response(error, path)(scope, receive, noted)
        finally:
            route = _route(scope)
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        if path in _OPEN and scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        caller = self._caller(scope)
        if self._rates and (wait := self._rates.take(caller)):
            limit = self._limits.requests_per_minute
            raise Refused(Kind.LIMITED, f"more than {limit} requests a minute", retry_after=math.ceil(wait))
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
        """Who sends a request: a key, or an address where there are no keys; Refused where the key is none."""
        if not self._keys:
            return (scope["client"] or ("",))[0].encode()
        header = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = header.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Refused(Kind.NO_KEY, "an API key is needed: send the header Authorization: Bearer KEY")
        digest = _digest(key.strip())
        # Every key is compared, each in constant time.
        if not sum(hmac.compare_digest(digest, known) for known in self._keys):
            raise Refused(Kind.NO_KEY, "the API key is not known")
        return digest

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body of a request, of a size that is allowed; ``None`` where the caller has gone."""
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


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, for the app to read."""
    message: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def again() -> Message:
        nonlocal message
        first, message = message, None
        return await receive() if first is None else first

    return again


def _route(scope: Scope) -> str:
    """The route that answered, and not the path: callers may ask for any number of those."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or "none"
