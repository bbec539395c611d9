"""The embedded server's HTTP as an ASGI app: it reads requests within limits, and answers them in threads."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import Executor

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..metrics import Metrics
from .api import PATHS, Api

#: Maximum size of a request in bytes, both as sent and unpacked; the same as for gRPC.
MOST_BYTES = 128 << 20
#: Maximum bytes that are read and dropped of a larger request, because a caller reads the refusal only after sending.
_MOST_DROPPED = 1 << 30
#: Maximum seconds between two parts of a request.
PATIENCE = 50.0
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
#: Methods that TensorFlow Serving's web server accepts.
_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")


class App:
    """Answers HTTP requests.

    Args:
        api: the REST API.
        threads: threads that run it; further requests wait.
        metrics: metrics of the server.
        metrics_path: path of the metrics page; empty for none.
        cors: send CORS headers.
    """

    def __init__(self, api: Api, threads: Executor, metrics: Metrics, metrics_path: str, cors: bool) -> None:
        self._api, self._threads, self._metrics = api, threads, metrics
        self._metrics_path, self._cors = metrics_path, cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            return
        try:
            response = await self._respond(Request(scope, receive))
        except ClientDisconnect:
            return
        except _TooLargeError:
            response = _page(413, "Request Entity Too Large")
        except TimeoutError:
            response = _page(408, "Request Timeout")
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        if query := request.scope["query_string"].decode("latin-1"):
            path += f"?{query}"
        if request.method not in _METHODS:
            return _page(501, "Not Implemented")
        if self._metrics_path and path.partition("?")[0] == self._metrics_path:
            return self._metrics_page(path)
        if not PATHS.fullmatch(path):
            return _page(404, "Not Found")
        body = await _read(request)
        headers = {"Content-Type": "application/json", **(_CORS if self._cors else {})}
        if request.method == "OPTIONS":
            return Response(b"", self._api.preflight(request.headers.get("origin", "")), headers)
        # After the body, the next message of a caller is its disconnection.
        gone = asyncio.ensure_future(request.receive())
        try:
            status, answer = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._api.answer, request.method, path, body, lambda: not gone.done()
            )
        finally:
            gone.cancel()
        return Response(answer, status, headers)

    def _metrics_page(self, path: str) -> Response:
        headers = {"Content-Type": "text/plain"}
        if path != self._metrics_path:
            return Response(f"Unexpected path: {path}. Should be {self._metrics_path}", 400, headers)
        # Model names that are not UTF-8 would make the page unreadable.
        return Response(self._metrics.page().encode("utf-8", "replace"), 200, headers)


class _TooLargeError(Exception):
    pass


async def _read(request: Request) -> bytes:
    """The body, decompressed if gzip; empty if that fails, as in TensorFlow Serving."""
    parts, size = [], 0
    if int(request.headers.get("content-length", "0")) > MOST_BYTES and "expect" in request.headers:
        raise _TooLargeError  # the caller waits for the permission to send it
    stream = request.stream()
    while part := await asyncio.wait_for(_next(stream), PATIENCE):
        size += len(part)
        if size <= MOST_BYTES:
            parts.append(part)
        elif size > _MOST_DROPPED:
            break
    if size > MOST_BYTES:
        raise _TooLargeError
    body = b"".join(parts)
    if "gzip" not in request.headers.get("content-encoding", ""):
        return body
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(body, MOST_BYTES)
    except zlib.error:
        return b""
    if unpacker.unconsumed_tail:
        raise _TooLargeError
    return unpacked if unpacker.eof else b""


async def _next(stream: AsyncIterator[bytes]) -> bytes:
    """The next non-empty part; empty at the end."""
    async for part in stream:
        if part:
            return part
    return b""


def _page(status: int, reason: str) -> Response:
    """An error page of libevent, TensorFlow Serving's web server."""
    text = f"<HTML><HEAD>\n<TITLE>{status} {reason}</TITLE>\n</HEAD><BODY>\n<H1>{reason}</H1>\n</BODY></HTML>\n"
    return Response(text, status, {"Content-Type": "text/html", "Connection": "close"})
