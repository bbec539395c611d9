"""A contestant in a separate process, so that thread pools of TensorFlow, PyTorch and others do not interfere.

Only one contestant works at a time. The others are stopped (SIGSTOP), so that none of their threads spins, polls or
collects garbage meanwhile.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from . import machine, peers
from .peers import Setup

__all__ = ["Failed", "Loaded", "Measured", "Worker", "environment", "prepare"]


class Failed(Exception):
    """A contestant failed; the message has its traceback."""


def environment(threads: int) -> None:
    """Set environment variables that libraries read at import, for this process and its children."""
    os.environ.update(
        TF_CPP_MIN_LOG_LEVEL="3",
        TQDM_DISABLE="1",
        CUDA_VISIBLE_DEVICES="-1",
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_VERBOSITY="error",
        TOKENIZERS_PARALLELISM="true",
        RAYON_NUM_THREADS=str(threads),
        OMP_NUM_THREADS=str(threads),
        MKL_NUM_THREADS=str(threads),
        # tensorflow_hub warns about pkg_resources.
        PYTHONWARNINGS="ignore::UserWarning:tensorflow_hub",
    )


@dataclass(frozen=True)
class Loaded:
    """Cost of loading: seconds, imports included, and resident memory in bytes afterwards."""

    seconds: float
    rss: int


@dataclass(frozen=True)
class Measured:
    """Seconds of each call, and maximum resident memory in bytes."""

    seconds: list[float]
    peak_rss: int


class Worker:
    """A contestant's process, stopped except during requests.

    Args:
        name: a key of :data:`.peers.ALL`.
        setup: its settings.

    Raises:
        Failed: loading failed.
    """

    def __init__(self, name: str, setup: Setup) -> None:
        #: The name in tables: name/precision.
        self.title, self.precision = f"{name}/{setup.precision}", setup.precision
        self._log = _log(name, setup)
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, setup), daemon=True)
        self._process.start()
        theirs.close()
        self.loaded: Loaded = self._answer()
        self._signal(signal.SIGSTOP)

    def measure(self, calls: Sequence[list[str]], warm: Sequence[list[str]] = ()) -> Measured:
        """Time each call, after the calls of ``warm``, which refill the caches with weights and code."""
        measured: Measured = self._ask("measure", calls, warm)
        return measured

    def embed(self, texts: list[str]) -> np.ndarray:
        """Float32 ``[B, H]``."""
        return self._ask("embed", texts)

    def close(self) -> None:
        """End the process and its children."""
        if self._process.pid is None or not self._process.is_alive():
            return
        with contextlib.suppress(Failed, OSError):
            self._ask("close")
        self._process.join(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _ask(self, *question: Any) -> Any:
        self._signal(signal.SIGCONT)
        self._connection.send(question)
        answer = self._answer()
        if question[0] != "close":
            self._signal(signal.SIGSTOP)
        return answer

    def _answer(self) -> Any:
        try:
            good, answer = self._connection.recv()
        except EOFError:
            raise Failed(f"{self.title}: its process ended; see {self._log}") from None
        if not good:
            raise Failed(f"{self.title}: {answer}")
        return answer

    def _signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.killpg(self._process.pid, number)


def prepare(name: str, setup: Setup) -> None:
    """Let a contestant prepare its files, in a separate process.

    Raises:
        Failed: the preparation failed.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_prepare, args=(theirs, name, setup))
    process.start()
    theirs.close()
    try:
        good, answer = ours.recv()
    except EOFError:
        good, answer = False, f"its process ended; see {_log(name, setup)}"
    process.join()
    if not good:
        raise Failed(f"{name}/{setup.precision}: {answer}")


def _log(name: str, setup: Setup) -> Path:
    """Log file of a contestant's processes."""
    return setup.work / f"{name}-{setup.precision}.log"


def _to_log(name: str, setup: Setup, mode: str) -> None:
    with _log(name, setup).open(mode) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def _prepare(connection: Connection, name: str, setup: Setup) -> None:
    _to_log(name, setup, "w")
    try:
        peers.make(name, setup).prepare()
        connection.send((True, None))
    except Exception:
        connection.send((False, traceback.format_exc()))


def _serve(connection: Connection, name: str, setup: Setup) -> None:
    # A separate process group, which is stopped and ended together with the contestant's children. Ctrl-C at the
    # terminal reaches only the driver.
    os.setpgid(0, 0)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: setup.threads])
    _to_log(name, setup, "a")
    contestant = peers.make(name, setup)
    try:
        began = time.perf_counter()
        contestant.load()
        contestant.embed(["A first text."])
        connection.send((True, Loaded(time.perf_counter() - began, machine.rss())))
        while True:
            command, *arguments = connection.recv()
            if command == "close":
                contestant.close()
                connection.send((True, None))
                return
            connection.send((True, {"measure": _measure, "embed": _embed}[command](contestant, *arguments)))
    except EOFError:
        contestant.close()
    except Exception:
        connection.send((False, traceback.format_exc()))
        os.killpg(0, signal.SIGKILL)


def _measure(contestant: Any, calls: Sequence[list[str]], warm: Sequence[list[str]]) -> Measured:
    machine.reset_peak_rss()
    for texts in warm:
        contestant.embed(texts)
    seconds = []
    for texts in calls:
        began = time.perf_counter()
        contestant.embed(texts)
        seconds.append(time.perf_counter() - began)
    return Measured(seconds, machine.peak_rss())


def _embed(contestant: Any, texts: list[str]) -> np.ndarray:
    result: np.ndarray = contestant.embed(texts)
    return result
