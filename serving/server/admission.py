"""How many calls are in the server at once, who is refused, and who still waits for an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc

from .failure import Failure

__all__ = ["ANYBODY", "Admission", "CallThreads", "Caller"]

#: gRPC gives calls without a deadline one that is years away.
_NO_DEADLINE = 1e7


class CallThreads(ThreadPoolExecutor):
    """Threads for calls; it knows how many calls have one or wait for one, and have no answer yet."""

    def __init__(self, most: int) -> None:
        super().__init__(most, thread_name_prefix="rawbert-call")
        self.calls = 0
        self._counting = threading.Lock()
        self._call = threading.local()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As of its base."""

        def run() -> Any:
            self._call.open = True
            try:
                return fn(*args, **kwargs)
            finally:
                self.answered()

        with self._counting:
            self.calls += 1
        return super().submit(run)

    def answered(self) -> None:
        """The call of this thread has its answer: who gets it may call again before the thread has sent it."""
        if self._call.open:
            self._call.open = False
            with self._counting:
                self.calls -= 1


class Admission(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls beyond a number, before anything of their message is read, on a thread kept for that.

    Args:
        threads: those of the server.
        most: calls at once; health checks are let in all the same.
        refusal: what further ones are answered.
    """

    def __init__(self, threads: CallThreads, most: int, refusal: Failure) -> None:
        self._threads, self._most = threads, most

        def refuse(_: object, context: grpc.ServicerContext) -> None:
            context.abort(refusal.code, str(refusal))

        # gRPC's own name for the threads of one method.
        refuse.experimental_thread_pool = ThreadPoolExecutor(1, "rawbert-refuse")  # type: ignore[attr-defined]
        # Of a stream no message is read unless it is asked for.
        self._refusing = grpc.stream_unary_rpc_method_handler(refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """As of its base."""
        if self._threads.calls >= self._most and not handler_call_details.method.startswith("/grpc.health."):
            return self._refusing
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = handler.unary_unary

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return method(request, context)
            finally:
                self._threads.answered()

        return handler._replace(unary_unary=answer)


class Caller:
    """Who waits for an answer.

    Args:
        wanted: says whether somebody still does.
        seconds: until the deadline; ``None`` where there is none.
    """

    def __init__(self, wanted: Callable[[], bool], seconds: float | None = None) -> None:
        self.wanted = wanted
        self._until = None if seconds is None or seconds > _NO_DEADLINE else time.monotonic() + seconds

    def patience(self, run: float) -> float | None:
        """Seconds that the call may wait for its turn; ``None`` for as many as it takes.

        A turn that comes so late that its answer would miss the deadline is lost to everybody; a server that is
        asked for more than it can do would in the end compute nothing else.

        Args:
            run: seconds that a turn has taken lately.
        """
        if self._until is None:
            return None
        left = max(0.0, self._until - time.monotonic())
        # What a run takes is a guess: no call is given up in the first half of its time.
        return max(left - 1.25 * run - 0.02, left / 2)


#: For calls of our own.
ANYBODY = Caller(lambda: True)
