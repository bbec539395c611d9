"""What the exporter's sub-commands share: how they start, and how they fail."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

__all__ = ["fail", "prepare"]


def prepare() -> None:
    """Let SIGTERM unwind as Ctrl-C does, and keep the libraries' start-up chatter away from our own lines."""
    signal.signal(signal.SIGTERM, _terminate)
    # A user's own settings win.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")


def fail(console: Console, reason: object, code: int) -> NoReturn:
    """End the command with an error for people and an exit code."""
    console.print("[bold red]error:[/bold red]", escape(str(reason)), highlight=False, soft_wrap=True)
    sys.exit(code)


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt
