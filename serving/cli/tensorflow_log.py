"""A filter for the log of TensorFlow's C++ code on standard error."""

import os
import re
import signal
import sys
from typing import Final

#: Log lines except fatal ones, in the formats of abseil and of TensorFlow's older code, with their continuations.
_CHATTER: Final = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ \S+:\d+\]"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] \S+:\d+\]"
    rb"|WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|To enable the following instructions:"
)


def drop_chatter() -> None:
    """Drop all log lines except fatal ones from now on. Call it before threads are started.

    TensorFlow's own settings do not cover every line. Its last words before a crash must not be lost, so a separate
    process reads them. Python's ``sys.stderr`` works as before.
    """
    if not hasattr(os, "fork"):
        return
    reader, writer = os.pipe()
    sys.stderr.flush()
    if os.fork() == 0:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # The process ends with the last writer.
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
