"""The ``rawbert`` command. Sub-commands load when they are called: the help costs no TensorFlow."""

import math
import os
import signal
import sys
import time
from typing import Any, Final

from .tensorflow_log import drop_chatter

#: What shells give for a process that SIGINT ended.
_INTERRUPTED: Final = 130
#: Seconds for which further signals are not heeded: Ctrl-C is pressed twice, and what the first takes down is whole.
_AGAIN: Final = 2.0
#: Sub-commands that load TensorFlow, whose log is not what a user of theirs asked for. ``serve`` sees to its own.
_TENSORFLOW: Final = ("export", "finetune", "tokenize", "verify")


def main() -> None:
    """Entry point of the console script."""
    if sys.argv[1:] and sys.argv[1] in _TENSORFLOW and os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "0":
        drop_chatter()
    _unwind_on_signals()
    code: Any = _INTERRUPTED
    try:
        code = _run()
    except KeyboardInterrupt:
        pass
    except SystemExit as end:
        code = end.code
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # It is at its end: no traceback out of the interpreter's own.
    if code == _INTERRUPTED and sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")  # the cursor, where a progress bar was being set up at that moment
    sys.exit(code)


def _unwind_on_signals() -> None:
    """SIGTERM, and the end of the terminal, unwind a command as Ctrl-C does: temporary files go."""
    last = -math.inf

    def interrupt(number: int, frame: object) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _AGAIN:
            last = now
            raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # What nohup, or a shell for a job in the background, has switched off stays so.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def _run() -> int:
    try:
        import click

        from .app import rawbert
        from .output import print_error
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit("error: the command line needs the cli extra: pip install 'rawbert[cli]'")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # A terminal that is not UTF-8 shows what it can.
    try:
        return rawbert.main(sys.argv[1:] or ["--help"], prog_name="rawbert", standalone_mode=False) or 0
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        print_error(error.format_message() + (f" (see {context.command_path} --help)" if context else ""))
        return error.exit_code
    except click.Abort:  # click's own name for Ctrl-C, to which it gives the exit code 1
        return _INTERRUPTED
