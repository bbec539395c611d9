"""A command in a separate terminal: its output, and Ctrl-C."""

from __future__ import annotations

import os
import re
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

#: Makes the terminal the controlling terminal of a session, whose processes then get its Ctrl-C.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@dataclass
class Ended:
    """The result: exit code (negative for a signal), output, and seconds between Ctrl-C and the end."""

    code: int
    written: str
    seconds: float

    @property
    def plain(self) -> str:
        """The output without colours and movements of the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.written)

    @property
    def cursor_is_visible(self) -> bool:
        """Whether the cursor is visible at the end."""
        return re.findall(r"\x1b\[\?25[lh]", self.written)[-1:] != ["\x1b[?25l"]


def run(
    command: Sequence[str],
    *,
    width: int = 80,
    environment: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    interrupt: Callable[[str, float], int] = lambda written, seconds: 0,
    most: float = 120.0,
) -> Ended:
    """Run a command in a terminal.

    Args:
        command: a path and arguments.
        width: columns.
        environment: variables that replace those of this process; COLUMNS and NO_COLOR are removed.
        cwd: working folder.
        interrupt: function from the output so far and the seconds since the start to the number of Ctrl-C so far.
        most: maximum seconds; a longer run is killed and is an error.
    """
    import fcntl
    import pty
    import termios

    inherited = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    env = {**inherited, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(environment or {})}
    descriptor, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    # Not pty.fork: in this process gRPC has threads, and a forked child that runs Python may hang.
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, *command],
        stdin=end, stdout=end, stderr=end, env=env, cwd=cwd, start_new_session=True,
    )  # fmt: skip
    os.close(end)
    begun = time.monotonic()
    written, pressed, at = b"", 0, 0.0
    try:
        while True:
            if select.select([descriptor], [], [], 0.02)[0]:
                try:
                    block = os.read(descriptor, 65536)
                except OSError:
                    break
                if not block:
                    break
                written += block
            if interrupt(written.decode(errors="replace"), time.monotonic() - begun) > pressed:
                os.write(descriptor, b"\x03")
                pressed, at = pressed + 1, at or time.monotonic()
            if time.monotonic() - begun > most:
                process.kill()
                raise AssertionError(f"{command} did not end: {written[-2000:]!r}")
    finally:
        os.close(descriptor)
        code = process.wait()
    seconds = time.monotonic() - at if at else 0.0
    return Ended(code, written.decode(errors="replace").replace("\r\n", "\n"), seconds)
