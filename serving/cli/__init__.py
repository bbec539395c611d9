"""The ``rawbert`` command. Sub-commands load when they are called: the help costs no TensorFlow."""

import sys


def main() -> None:
    """Entry point of the console script."""
    try:
        sys.exit(_run())
    except KeyboardInterrupt:  # while a sub-command was still being imported
        sys.exit(_INTERRUPTED)


#: What shells give for a process that SIGINT ended.
_INTERRUPTED = 130


def _run() -> int:
    try:
        import click

        from .app import rawbert
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit("error: the command line needs the cli extra: pip install 'rawbert[cli]'")
    try:
        return rawbert.main(prog_name="rawbert", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:  # click's own name for Ctrl-C, to which it gives the exit code 1
        return _INTERRUPTED
