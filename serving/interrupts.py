"""Delay of Ctrl-C and similar signals while an exception would be lost or would do harm."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

#: The signals that end a command, of those that the system has.
SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def held() -> Iterator[None]:
    """Delay signals until the end of the block; then the handler of the first signal runs.

    A handler that raises KeyboardInterrupt needs this in two places. The first is Python code that C++ calls, such as
    in the import of TensorFlow: C++ prints the exception and continues. The second is the start of a call in gRPC: if
    it is interrupted, gRPC does not count the call, its thread ends too soon, and closing the channel waits forever.

    Outside of the main thread, and in a sub-interpreter, there are no signals to delay.
    """
    caught: list[tuple[int, FrameType | None]] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))}
    try:
        with suppress(ValueError):  # in a sub-interpreter
            for number in handlers:
                signal.signal(number, lambda number, frame: caught.append((number, frame)))
        yield
    finally:
        with suppress(ValueError):
            for number in reversed(handlers):
                signal.signal(number, handlers[number])
        if caught:
            number, frame = caught[0]
            handlers[number](number, frame)
