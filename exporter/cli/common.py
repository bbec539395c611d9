"""The common part of the exporter's sub-commands: start, and errors."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from ...serving.cli import connection, reading
from ...serving.cli.output import print_error
from ...serving.extras import how_to_install
from ..errors import ConfigError, ExportError
from ..recipe import TOKENIZERS, TRUNCATION_SIDES, TRUNCATION_STRATEGIES
from ..targets import opsets

_Option = Callable[[Callable[..., Any]], Callable[..., Any]]
#: Options shared with the commands that call servers.
json_option: _Option = connection.json_option
security_options: _Option = connection.security_options
encoding_option: _Option = reading.encoding_option
delimiter_option: _Option = reading.delimiter_option
quotes_option: _Option = reading.quotes_option


class Release(click.ParamType):  # type: ignore[type-arg]
    """A TensorFlow Serving release: 2.20.0 becomes 2.20, the name of its data; ``newer`` allows unknown newer ones."""

    name = "release"

    def __init__(self, newer: bool = False) -> None:
        self._newer = newer

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Convert; a usage error for an invalid, too old or unknown release."""
        try:
            nearest = opsets.nearest(value)
        except ValueError as error:
            self.fail(f"{error}; choose from {', '.join(opsets.RELEASES)}", param, ctx)
        if opsets.is_known(value):
            return nearest
        if not self._newer:
            self.fail(f"{value} is not known yet; use {nearest}: newer releases run the same models", param, ctx)
        return value


def user_path(value: str) -> Path:
    """A path with ``~`` expanded: a shell does not expand it in ``--models=~/models``."""
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise click.BadParameter(
            f"{value}: there is no such user; for a folder of that name write ./{value}"
        ) from error


def tokenizer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the tokenizer options to a command: the fields of ``TokenizerOptions`` except ``pair``."""
    options = (
        click.option(
            "--tokenizer", type=click.Choice(TOKENIZERS),
            help="reference is the checkpoint's own tokenizer; tf-text is the tokenizer of the Hub's preprocessing "
            "models, which differs for everyday characters.  [default: tf-text for a Keras model with such a layer, "
            "else reference]",
        ),
        click.option(
            "--truncation-side", type=click.Choice(TRUNCATION_SIDES),
            help="Side on which long texts are cut.  [default: the checkpoint's own, nearly always right]",
        ),
        click.option(
            "--truncation-strategy", type=click.Choice(TRUNCATION_STRATEGIES), default="longest_first",
            show_default=True, help="The text of a long pair that is cut.",
        ),
        click.option(
            "--plain-text-special-tokens", is_flag=True,
            help="Treat special tokens such as [SEP] in a text as ordinary text, for untrusted callers.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def failing(state: str = "") -> Iterator[None]:
    """Run a command's work, and end the command on an error; ``state`` is the note about results after an interrupt.

    Start-up messages of libraries are suppressed.
    """
    # The user's own settings have precedence.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    try:
        yield
    except ExportError as error:
        _fail(error, 2 if isinstance(error, ConfigError) else 1)
    except BrokenPipeError:
        raise  # click ends the command without a message
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else error)
    except ImportError as error:
        if error.name and error.name.startswith("rawbert"):
            raise
        _fail(f"{error}; the exporter needs the export extra: {how_to_install('export')}")
    except KeyboardInterrupt as interrupt:
        _fail(f"interrupted; {interrupt}" if interrupt.args else f"interrupted{state}", 130)
    except MemoryError:
        _fail(f"out of memory{state}")


def _fail(reason: object, code: int = 1) -> NoReturn:
    print_error(reason)
    sys.exit(code)
