"""How a server keeps its memory: what a version or a large text needed goes back to the machine when it is gone."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import threading

__all__ = ["give_back", "prepare", "trim", "trim_soon"]

# mallopt's names, of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8

#: Seconds until what a call held is free, its message above all, which gRPC frees after the answer.
_SOON = 0.2
_soon = threading.Lock()


def prepare() -> None:
    """Settings of a process that is a server and nothing else; before TensorFlow is imported.

    TensorFlow's allocator on CPUs with oneDNN grows by doubling and never gives anything back: after the first new
    version of a model, the old one's weights stay for ever, and a text of 50 MB leaves gigabytes. glibc's gives back
    what it is told to, and costs no speed with these: tensors of up to 32 MB stay in one heap, which only
    :func:`give_back` makes smaller, so that a run meets no fresh pages. A user's own settings win.
    """
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    if not any(name.startswith("MALLOC_") for name in os.environ):
        _call("mallopt", _ARENA_MAX, 1)
        _call("mallopt", _MMAP_THRESHOLD, 32 << 20)
        _call("mallopt", _TRIM_THRESHOLD, 1 << 30)


def give_back() -> None:
    """Free what loading needed and what an unloaded version held: a graph is full of cycles, and glibc keeps pages."""
    gc.collect()
    trim()


def trim() -> None:
    """Give back the pages that are free."""
    _call("malloc_trim", 0)


def trim_soon() -> None:
    """Do that when the call that runs now is over."""
    if _soon.acquire(blocking=False):

        def later() -> None:
            _soon.release()
            trim()

        timer = threading.Timer(_SOON, later)
        timer.daemon = True
        timer.start()


def _call(name: str, *arguments: int) -> None:
    # Other C libraries do these things of themselves, and have no such functions.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), name)(*arguments)
