"""How many calls are in the server at once, who is refused, and who still waits for an answer."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from .failure import Failure

__all__ = ["ANYBODY", "Admission", "Backlog", "CallThreads", "Caller", "Turns", "late"]

#: While calls are refused because they would come too late, so many may be in the server all the same.
_FEWEST = 32
#: gRPC gives calls without a deadline one that is years away.
_NO_DEADLINE = 1e7


class CallThreads(ThreadPoolExecutor):
    """Threads for calls; it knows how many calls have one or wait for one, and have no answer yet.

    Attributes:
        calls: that number.
        room: up to how many it may grow. A call that was refused for want of time shows that there are too many, and
            each that was answered that there may be one more.
    """

    def __init__(self, most: int) -> None:
        super().__init__(most, thread_name_prefix="rawbert-call")
        self.calls = 0
        self.room = self._most = most
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

    def answered(self, refused: bool = False) -> None:
        """The call of this thread has its answer: who gets it may call again before the thread has sent it."""
        if self._call.open:
            self._call.open = False
            with self._counting:
                self.calls -= 1
                self.room = max(_FEWEST, min(self.room, self.calls)) if refused else min(self._most, self.room + 1)


class Admission(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls beyond a number, before anything of their message is read, on a thread kept for that.

    Args:
        threads: those of the server.
        most: calls at once; health checks are let in all the same.
        refusal: what further ones are answered.
    """

    def __init__(self, threads: CallThreads, most: int, refusal: Failure) -> None:
        self._threads, self._most = threads, most
        self._full, self._busy = _refusing(refusal), _refusing(late())

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """As of its base."""
        if not handler_call_details.method.startswith("/grpc.health."):
            if self._threads.calls >= self._most:
                return self._full
            if self._threads.calls >= self._threads.room:
                return self._busy
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        parse, method = handler.request_deserializer, handler.unary_unary

        def answer(data: bytes, context: grpc.ServicerContext) -> Any:
            try:
                # gRPC itself never frees a call whose message it cannot parse.
                try:
                    request = parse(data)
                except Exception:
                    context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
                return method(request, context)
            finally:
                self._threads.answered(refused=context.code() is grpc.StatusCode.UNAVAILABLE)

        return handler._replace(request_deserializer=None, unary_unary=answer)


def _refusing(failure: Failure) -> Any:
    """Answers any call so, with nothing of its message read: of a stream none is unless it is asked for."""

    def refuse(_: object, context: grpc.ServicerContext) -> None:
        context.abort(failure.code, str(failure))

    # gRPC's own name for the threads of one method.
    refuse.experimental_thread_pool = ThreadPoolExecutor(1, "rawbert-refuse")  # type: ignore[attr-defined]
    return grpc.stream_unary_rpc_method_handler(refuse)


def late() -> Failure:
    """What a call is answered whose turn would come too late."""
    return Failure(
        grpc.StatusCode.UNAVAILABLE, "the server is busy: the turn of the call would come too late for its deadline"
    )


class Caller:
    """Who waits for an answer.

    Args:
        wanted: says whether somebody still does.
        seconds: until the deadline; ``None`` where there is none.
    """

    def __init__(self, wanted: Callable[[], bool], seconds: float | None = None) -> None:
        self._wanted = wanted
        self._until = None if seconds is None or seconds > _NO_DEADLINE else time.monotonic() + seconds

    def check(self) -> None:
        """Whether the answer is still wanted.

        Raises:
            Failure: it is not.
        """
        if not self._wanted():
            raise late() if self._left() == 0 else Failure(grpc.StatusCode.CANCELLED, "the caller is gone")

    def patience(self, run: float) -> float | None:
        """Seconds that the call may wait for its turn; ``None`` for as many as it takes.

        Args:
            run: seconds that a turn has taken lately.
        """
        left = self._left()
        # What a run takes is a guess: no call is given up in the first half of its time.
        return None if left is None else max(left - 1.25 * run - 0.02, left / 2)

    def can_wait(self, seconds: float) -> bool:
        """Whether an answer that is expected after so many seconds comes in time, by a fair margin."""
        left = self._left()
        return left is None or 1.5 * seconds + 0.02 <= left

    def _left(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - time.monotonic())


#: For calls of our own.
ANYBODY = Caller(lambda: True)


class Turns:
    """Lets so many run at once, the others in the order in which they came.

    A ``threading.Semaphore`` gives a turn to whoever asks first, and who was waiting for it goes to the end again.
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._waiting: deque[threading.Event] = deque()

    def acquire(self, timeout: float | None) -> bool:
        """Wait for a turn; whether it came in so many seconds."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            turn = threading.Event()
            self._waiting.append(turn)
        if turn.wait(timeout):
            return True
        with self._lock:
            if turn.is_set():
                return True
            self._waiting.remove(turn)
            return False

    def release(self) -> None:
        """Give a turn back."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1


class Backlog:
    """The work that a model was given and has not done, by what runs have taken lately.

    A turn that comes so late that its answer would miss the deadline is lost to everybody; a server that is asked for
    more than it can do would in the end compute nothing else. So a call is refused at once that would wait too long.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._waiting = 0  # microseconds of work let in, calls that run included
        #: By signature: microseconds that a row takes, and seconds that the longest run of late took.
        self._rows: dict[str, float] = {}
        self._runs: dict[str, float] = {}

    def longest(self, signature: str) -> float:
        """Seconds that a run of a signature takes at most, of late."""
        return self._runs.get(signature, 0.0)

    @contextmanager
    def let_in(self, signature: str, rows: int, caller: Caller) -> Iterator[None]:
        """A call, until it has its answer. Where nothing else is to be done it is always let in.

        Raises:
            Failure: the answer would come too late.
        """
        with self._lock:
            work = int(rows * self._rows.get(signature, 0.0))
            if self._waiting and not caller.can_wait((self._waiting + work) / 1e6):
                raise late()
            self._waiting += work
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= work

    @contextmanager
    def run(self, signature: str, rows: int) -> Iterator[None]:
        """A run, of one call or of several."""
        with self._lock:
            self._running += 1
            at_once = self._running
        began = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - began
            with self._lock:
                row = 1e6 * seconds / (max(rows, 1) * max(at_once, self._running))
                self._running -= 1
                self._rows[signature] = max(row, 0.9 * self._rows.get(signature, 0.0))
                self._runs[signature] = max(seconds, 0.9 * self._runs.get(signature, 0.0))
