"""What the exporter's sub-commands share: how they start, and how they fail."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape

from ..errors import ConfigError, ExportError
from ..recipe import TOKENIZERS, TRUNCATION_SIDES, TRUNCATION_STRATEGIES


class UserPath(click.Path):
    """A path, in which ``~`` is a home folder: a shell leaves it in ``--models=~/models`` as it is."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, or a usage error where the user has no home folder."""
        try:
            return super().convert(Path(value).expanduser(), param, ctx)  # type: ignore[return-value]
        except RuntimeError:
            self.fail(f"{value}: there is no such user; for a folder of that name write ./{value}", param, ctx)


def tokenizer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that say how texts are tokenized; the fields of ``TokenizerOptions`` but ``pair``."""
    options = (
        click.option(
            "--tokenizer", type=click.Choice(TOKENIZERS), default="reference", show_default=True,
            help="reference gives the tokens of the checkpoint's own tokenizer, tf-text those of the Hub's "
            "preprocessing models, which differ on everyday characters.",
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


@contextmanager
def failing(console: Console, state: str = "") -> Iterator[None]:
    """End the command as its errors ask for; ``state`` says what an interrupt has left."""
    try:
        yield
    except ConfigError as error:
        fail(console, error, 2)
    except ExportError as error:
        fail(console, error, 1)
    except BrokenPipeError:
        raise  # click ends the command in silence
    except OSError as error:
        fail(console, f"{error.filename}: {error.strerror}" if error.filename else error, 1)
    except ImportError as error:
        if error.name and error.name.startswith("rawbert"):
            raise
        fail(console, f"{error}; the exporter needs the export extra: pip install 'rawbert[export]'", 1)
    except KeyboardInterrupt as interrupt:
        fail(console, f"interrupted; {interrupt}" if interrupt.args else f"interrupted{state}", 130)
    except MemoryError:
        fail(console, f"out of memory{state}", 1)


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt
