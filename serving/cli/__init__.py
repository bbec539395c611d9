"""The ``rawbert`` command. A sub-command is imported when it is called, so ``--help`` does not load TensorFlow."""

import math
import os
import signal
import sys
import time
from typing import Any, Final

from .tensorflow_log import drop_chatter

#: The exit code of shells for a process ended by SIGINT.
_INTERRUPTED: Final = 130
#: Seconds for which further signals are ignored: people press Ctrl-C twice, and the first clean-up must finish.
_AGAIN: Final = 2.0
#: Sub-commands that load TensorFlow and drop its log. ``serve`` handles the log itself.
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # No traceback from the interpreter's shutdown.
    if code == _INTERRUPTED and sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")  # Show the cursor, which a progress bar may have hidden.
    sys.exit(code)


def _unwind_on_signals() -> None:
    """Handle SIGTERM and SIGHUP like Ctrl-C, so that temporary files are removed."""
    last = -math.inf

    def interrupt(number: int, frame: object) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _AGAIN:
            last = now
            raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Signals that nohup, or a shell for a background job, has switched off stay off.
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
            stream.reconfigure(errors="backslashreplace")  # For terminals that are not UTF-8.
    try:
        return rawbert.main(sys.argv[1:] or ["--help"], prog_name="rawbert", standalone_mode=False) or 0
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        print_error(error.format_message() + (f" (see {context.command_path} --help)" if context else ""))
        return error.exit_code
    except click.Abort:  # click's own name for Ctrl-C, to which it gives the exit code 1
        return _INTERRUPTED
