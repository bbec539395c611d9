"""The HTTP server for the app, in a separate thread."""

import asyncio
import threading
import time
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...listening import bound, joined
from ..metrics import Metrics
from ..model import Model
from ..registry import Registry
from ..start import Plan, StartError
from ..threads import CallThreads
from .api import Api
from .app import PATIENCE, App

#: Maximum number of connections; further ones get the status 503. Each request that waits for a thread has one.
_MOST_CONNECTIONS = 1024
#: Maximum size in bytes of a request's headers.
_MOST_HEADERS = 64 << 10


class HttpServer:
    """Answers HTTP from :meth:`start` to :meth:`stop`; the constructor binds the port.

    Args:
        plan: flags of the server.
        registry: the versions.
        metrics: metrics of the server.

    Raises:
        StartError: the port is not available.
    """

    def __init__(self, plan: Plan, registry: Registry[Model], metrics: Metrics) -> None:
        options = plan.options
        try:
            self._socket = bound(options.host, options.rest_api_port)
        except OSError as error:
            address = joined(options.host, options.rest_api_port)
            raise StartError(f"cannot listen on {address}: {error.strerror or error}") from error
        #: Threads that answer requests; further requests wait.
        self.threads = CallThreads(plan.rest_threads, "rawbert-rest")
        timeout = options.rest_api_timeout_in_ms / 1000
        api = Api(registry, metrics, timeout if timeout > 0 else None)
        app = App(api, self.threads, metrics, plan.metrics_path, options.rest_api_enable_cors_support)
        self._config = uvicorn.Config(
            app,
            http=_Protocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=int(PATIENCE),
            h11_max_incomplete_event_size=_MOST_HEADERS,
        )
        self._server = uvicorn.Server(self._config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="rawbert-http", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.005)

    def refuse(self, grace: float | None) -> None:
        """Accept no further requests; those in flight may take some more seconds."""
        # uvicorn reads this when it stops; without seconds, it ends requests at once.
        self._config.timeout_graceful_shutdown = grace or 0  # type: ignore[assignment]
        self._server.should_exit = True

    def stop(self) -> None:
        """Wait for the end, after :meth:`refuse`."""
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()
        self.threads.shutdown(wait=False, cancel_futures=True)


class _Protocol(H11Protocol):
    """Closes a connection that sends nothing for a long time while it waits for no answer; uvicorn would keep it."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    def _wait(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self.loop.call_later(PATIENCE, self._expire)

    def _expire(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
