"""The ``rawbert`` command. Sub-commands load when they are called: the help costs no TensorFlow."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of the console script."""
    try:
        from .app import rawbert
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit("error: the command line needs the cli extra: pip install 'rawbert[cli]'")
    rawbert(prog_name="rawbert")
