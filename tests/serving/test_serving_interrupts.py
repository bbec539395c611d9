"""Signals that are delayed until the end of a block of code."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from rawbert.serving.interrupts import SIGNALS, held


class Stopped(Exception):
    """The exception of the handler below, with the signal's number."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[list[Any]]:
    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    before = [signal.signal(number, stop) for number in SIGNALS]
    yield [stop] * len(SIGNALS)
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_for_the_end_of_the_block(number: int, handlers: list[Any]) -> None:
    done = []

    def run() -> None:
        with held():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGINT)
            done.append("whole")

    with pytest.raises(Stopped) as stopped:
        run()
    assert (done, stopped.value.args) == (["whole"], (number,))
    assert [signal.getsignal(each) for each in SIGNALS] == handlers


def test_an_error_of_the_block_leaves_the_handlers_as_they_were(handlers: list[Any]) -> None:
    with pytest.raises(KeyError), held():
        raise KeyError
    assert [signal.getsignal(each) for each in SIGNALS] == handlers


def test_what_the_system_does_with_a_signal_stays_so(handlers: list[Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with held():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_another_thread_holds_nothing(handlers: list[Any]) -> None:
    found = []

    def run() -> None:
        with held():
            found.extend(signal.getsignal(number) for number in SIGNALS)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == handlers
