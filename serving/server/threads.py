"""Threads for calls, of any protocol."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class CallThreads(ThreadPoolExecutor):
    """Threads for calls, which counts the calls that have one or wait for one.

    Attributes:
        calls: calls that have no answer yet.
    """

    def __init__(self, most: int, name: str) -> None:
        super().__init__(most, thread_name_prefix=name)
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
        """The call of this thread has its answer: its caller may call again before the thread has sent it."""
        if self._call.open:
            self._call.open = False
            with self._counting:
                self.calls -= 1
