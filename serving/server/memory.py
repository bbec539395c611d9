"""How a server keeps its memory: what a version or a large text needed goes back to the machine when it is gone."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import threading
import time
from pathlib import Path

__all__ = ["give_back", "prepare", "trim", "trim_soon"]

# mallopt's names, of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8

#: What a server may grow by before free pages are looked for, in bytes, and how often it is looked at, in seconds.
_GROWN, _PAUSE = 100 << 20, 0.5
#: Seconds until what a call held is free, its message above all, which gRPC frees after the answer.
_SOON = 0.2
_asked = threading.Event()


def prepare() -> None:
    """Settings of a process that is a server and nothing else; before TensorFlow is imported.

    TensorFlow's allocator on CPUs with oneDNN grows by doubling and never gives anything back: after the first new
    version of a model, the old one's weights stay for ever, and a text of 50 MB leaves gigabytes. glibc's gives back
    what it is told to. With these settings tensors of up to 32 MB, which is glibc's most, stay in one heap, which is
    made smaller only now and then, so that most runs meet no fresh pages; larger tensors do, and calls that need them
    take up to 1.4 times as long (docs/server.md). A user's own settings win.
    """
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    if not any(name.startswith("MALLOC_") for name in os.environ):
        _call("mallopt", _ARENA_MAX, 1)
        _call("mallopt", _MMAP_THRESHOLD, 32 << 20)
        _call("mallopt", _TRIM_THRESHOLD, 1 << 30)
    if Path("/proc/self/statm").exists():
        threading.Thread(target=_watch, name="rawbert-memory", daemon=True).start()


def give_back() -> None:
    """Free what loading needed and what an unloaded version held: a graph is full of cycles, and glibc keeps pages."""
    gc.collect()
    trim()


def trim() -> None:
    """Give back the pages that are free."""
    _call("malloc_trim", 0)


def trim_soon() -> None:
    """Do that when the call that runs now is over; only where :func:`prepare` was called."""
    _asked.set()


def _watch() -> None:
    # Batches differ in size: between what lives, a heap comes to have holes that no tensor fits into.
    least = _resident()
    while True:
        asked = _asked.wait(_PAUSE)
        if asked:
            time.sleep(_SOON)
            _asked.clear()
        if asked or _resident() > least + _GROWN:
            trim()
            least = _resident()
        else:
            least = min(least, _resident())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _call(name: str, *arguments: int) -> None:
    # Other C libraries do these things of themselves, and have no such functions.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), name)(*arguments)
