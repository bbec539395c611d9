"""How a server keeps its memory: what a version or a large text needed goes back to the machine when it is gone."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from .. import malloc

__all__ = ["prepare", "trim_soon"]

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
        malloc.set_option(malloc.ARENA_MAX, 1)
        malloc.set_option(malloc.MMAP_THRESHOLD, 32 << 20)
        malloc.set_option(malloc.TRIM_THRESHOLD, 1 << 30)
    if Path("/proc/self/statm").exists():
        threading.Thread(target=_watch, name="rawbert-memory", daemon=True).start()


def trim_soon() -> None:
    """Give free pages back when the call that runs now is over; only where :func:`prepare` was called."""
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
            malloc.trim()
            least = _resident()
        else:
            least = min(least, _resident())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
