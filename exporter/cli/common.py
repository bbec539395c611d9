"""What the exporter's sub-commands share: how they start, and how they fail."""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..errors import ConfigError, ExportError
from ..recipe import TOKENIZERS, TRUNCATION_SIDES, TRUNCATION_STRATEGIES


def user_path(value: str) -> Path:
    """A path, in which ``~`` is a home folder: a shell leaves it in ``--models=~/models`` as it is."""
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise click.BadParameter(
            f"{value}: there is no such user; for a folder of that name write ./{value}"
        ) from error


def tokenizer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that say how texts are tokenized; the fields of ``TokenizerOptions`` but ``pair``."""
    options = (
        click.option(
            "--tokenizer", type=click.Choice(TOKENIZERS),
            help="reference gives the tokens of the checkpoint's own tokenizer, tf-text those of the Hub's "
            "preprocessing models, which differ on everyday characters.  [default: tf-text for a Keras model with such "
            "a layer, else reference]",
        ),
        click.option(
            "--truncation-side", type=click.Choice(TRUNCATION_SIDES),
            help="Where texts that are too long are cut.  [default: the checkpoint's own, nearly always right]",
        ),
        click.option(
            "--truncation-strategy", type=click.Choice(TRUNCATION_STRATEGIES), default="longest_first",
            show_default=True, help="Which text of a pair is cut.",
        ),
        click.option(
            "--plain-text-special-tokens", is_flag=True,
            help="Treat [SEP] and the like in a text as ordinary text: for callers who are not trusted.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def table(title: str, *columns: str) -> Table:
    """An empty table; the title is printed as it is."""
    return Table(*columns, title=escape(title), title_justify="left", title_style="bold")


def print_lines(console: Console, lines: Iterable[str]) -> None:
    """Print lines as they are, whatever they contain and however wide the terminal is."""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def failing(state: str = "") -> Iterator[None]:
    """Run what a command does, and end the command where that fails; ``state`` says what an interrupt has left.

    SIGTERM unwinds as Ctrl-C does, and the libraries' start-up chatter is kept away from our own lines.
    """
    signal.signal(signal.SIGTERM, _terminate)
    # A user's own settings win.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    try:
        yield
    except ExportError as error:
        _fail(error, 2 if isinstance(error, ConfigError) else 1)
    except BrokenPipeError:
        raise  # click ends the command in silence
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else error)
    except ImportError as error:
        if error.name and error.name.startswith("rawbert"):
            raise
        _fail(f"{error}; the exporter needs the export extra: pip install 'rawbert[export]'")
    except KeyboardInterrupt as interrupt:
        _fail(f"interrupted; {interrupt}" if interrupt.args else f"interrupted{state}", 130)
    except MemoryError:
        _fail(f"out of memory{state}")


def _fail(reason: object, code: int = 1) -> NoReturn:
    Console(stderr=True).print("[bold red]error:[/bold red]", escape(str(reason)), highlight=False, soft_wrap=True)
    sys.exit(code)


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt
