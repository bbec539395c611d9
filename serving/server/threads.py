"""Threads for calls of all protocols."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class CallThreads(ThreadPoolExecutor):
    """A thread pool for calls, which counts the calls that have a thread or wait for one.

    Attributes:
        calls: number of calls without an answer.
    """

    def __init__(self, most: int, name: str) -> None:
        super().__init__(most, thread_name_prefix=name)
        self.calls = 0
        self._counting = threading.Lock()
        self._call = threading.local()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See the base class."""

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
        """Record that this thread's call has its answer: the caller may call again before the thread has ended."""
        if self._call.open:
            self._call.open = False
            with self._counting:
                self.calls -= 1
