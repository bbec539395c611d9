"""The C library's memory, where that is glibc: its settings, and giving back what is free."""

from __future__ import annotations

import contextlib
import ctypes
import gc

__all__ = ["ARENA_MAX", "MMAP_THRESHOLD", "TRIM_THRESHOLD", "give_back", "set_option", "trim"]

# mallopt's options, of glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8


def set_option(option: int, value: int) -> None:
    """``mallopt``: one of the options above."""
    _call("mallopt", option, value)


def give_back() -> None:
    """Free what TensorFlow's graphs held, which are full of cycles, and give the pages back, which glibc keeps."""
    gc.collect()
    trim()


def trim() -> None:
    """Give back the pages that are free."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    # Other C libraries do these things of themselves, and have no such functions.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), name)(*arguments)
