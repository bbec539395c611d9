"""What TensorFlow's C++ code writes to standard error, filtered."""

import os
import re
import signal
import sys
from typing import Final

#: A line of its log but for fatal ones, as abseil and as TensorFlow's older code write it, and what belongs to one.
_CHATTER: Final = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ \S+:\d+\]"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] \S+:\d+\]"
    rb"|WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|To enable the following instructions:"
)


def drop_chatter() -> None:
    """Drop all but fatal lines of the log from here on. Call it before there are threads.

    TensorFlow's own settings do not reach every line. What it writes when it dies must not be lost, so a process of its
    own reads it. Python's ``sys.stderr`` goes on as before.
    """
    if not hasattr(os, "fork"):
        return
    reader, writer = os.pipe()
    sys.stderr.flush()
    if os.fork() == 0:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # It ends when the last writer does.
        os.close(writer)
        _filter(reader)
        os._exit(0)
    os.close(reader)
    sys.stderr = open(os.dup(2), "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    os.dup2(writer, 2)
    os.close(writer)


def _filter(reader: int) -> None:
    with open(reader, "rb") as lines:
        for line in lines:
            if not _CHATTER.match(line):
                os.write(2, line)
