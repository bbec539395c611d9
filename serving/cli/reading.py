"""Texts from arguments, files or standard input: the options, and the source that they describe."""

import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from .files import BadFile, inputs, lines
from .files.columns import TAKEN, Columns
from .files.inputs import Inputs
from .files.source import ROWS, Block, Source
from .files.writing import Format
from .telling import tell_skipped

_Command = TypeVar("_Command", bound=Callable[..., Any])
#: Lines of standard input per call.
_LINES = 64


def _delimiter(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    value = {"tab": "\t", "\\t": "\t", None: ""}.get(value, value)
    if value and (len(value) != 1 or value in '\r\n"'):
        raise click.BadParameter(f"{value!r}: give one character, or tab")
    return value or ""


def _encoding(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        if value:
            b"a\n".decode(value, lines.UNDECODED)
    except (LookupError, UnicodeError) as error:
        raise click.BadParameter(f"{error}; give for example utf-8, utf-16, cp1252 or gb18030") from error
    return value


encoding_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--encoding", callback=_encoding, help="Encoding of text, JSONL, CSV.  [default: UTF-8, or by a byte-order mark]"
)
delimiter_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--delimiter", callback=_delimiter, help="Delimiter of CSV columns.  [default: a comma; a tab in .tsv]"
)
quotes_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--no-quotes", is_flag=True, help="Read quotes in CSV as plain characters."
)
_OPTIONS: list[Callable[..., Any]] = [
    click.option("--input", "-i", "names", multiple=True, metavar="FILE",
                 help="File, folder or glob of texts: .txt (a text per line), .jsonl, .csv, .tsv, also with .gz, or "
                 ".parquet; - is standard input. Repeatable."),
    click.option("--input-format", type=click.Choice(sorted(set(inputs.FORMS.values()))),
                 help="[default: by the name of the file; text for standard input]"),
    click.option("--column", default="text", show_default=True,
                 help="Field or column of the text; a.b is b in a."),
    click.option("--keep", multiple=True, metavar="COLUMN",
                 help="Field or column to copy to the output; repeatable."),
    click.option("--keep-all", is_flag=True, help="Copy all fields or columns to the output."),
    encoding_option, delimiter_option, quotes_option,
    click.option("--on-error", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
                 help="Reaction to rows that cannot be read; skip lists them in OUTPUT.skipped.jsonl."),
]  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """The values of the options."""

    names: tuple[str, ...]
    input_format: str | None
    column: str
    keep: tuple[str, ...]
    keep_all: bool
    encoding: str | None
    delimiter: str
    no_quotes: bool
    on_error: str

    def source(self, texts: tuple[str, ...], *, also: tuple[str, ...] = (), taken: tuple[str, ...] = TAKEN) -> Source:
        """The source of texts; its files are not opened yet.

        Args:
            texts: texts from the command line.
            also: further columns to read.
            taken: names of the output's own columns.

        Raises:
            click.UsageError: contradictory options.
            BadFile: as :class:`Inputs` and :class:`Columns` do.
        """
        if texts and self.names:
            raise click.UsageError("give TEXTS or --input, not both; quote a glob, or repeat --input")
        columns = Columns(self.column, tuple(dict.fromkeys([*self.keep, *also])), self.keep_all, taken)
        found = Inputs(() if texts else self.names or (inputs.STANDARD,), self.input_format)
        if columns.any_kept and found.form == "text":
            raise click.UsageError("lines of text have no columns to keep: give JSONL, CSV or Parquet")
        if self.encoding and found.form == "parquet":
            raise click.UsageError("--encoding is for text, JSONL and CSV; leave it out: Parquet is always UTF-8")
        if (self.delimiter or self.no_quotes) and found.form not in ("csv", "tsv"):
            raise click.UsageError("--delimiter and --no-quotes are for CSV: leave them out")
        return Source(found, texts, columns, self.encoding, self.delimiter, not self.no_quotes, self.on_error == "skip")


def reading_options(command: _Command) -> _Command:
    """Add the options; the command receives them as one argument, ``reading``."""
    names = list(Reading.__dataclass_fields__)

    @functools.wraps(command)
    def packed(*args: Any, **options: Any) -> Any:
        return command(*args, reading=Reading(**{name: options.pop(name) for name in names}), **options)

    made: Any = packed
    for option in reversed(_OPTIONS):
        made = option(made)
    result: _Command = made
    return result


@contextmanager
def streamed(source: Source) -> Iterator[None]:
    """Open a source for standard output; at the end check that it is unchanged, and report skipped rows.

    Raises:
        BadFile: as :meth:`Inputs.open` and :meth:`Inputs.check` do.
    """
    source.inputs.open(Path(tempfile.gettempdir(), f"rawbert-{os.getpid()}-input"), stream=True)
    try:
        yield
        source.inputs.check()
    finally:
        source.inputs.discard()
    tell_skipped(source.skipped)


def block_size(source: Source) -> int:
    """Texts per block: one for typed lines, few for a pipe, several parts of a call for files."""
    if sys.stdin.isatty() and any(file.path is None for file in source.inputs.files):
        click.echo("one text per line; end with Ctrl-D", err=True)
        return 1
    return ROWS if source.inputs.lasting else _LINES


def look(source: Source, formats: Iterable[Format], match: Callable[[Block], None] = lambda block: None) -> int:
    """Check the rows and kept columns of the input before anything is sent; return the number of rows."""
    count = 0
    with unchanged(source):
        for block in source.blocks():
            for each in formats:
                each.check(block)
            match(block)
            count += len(block.texts)
    source.columns.check()
    return count


@contextmanager
def unchanged(source: Source) -> Iterator[None]:
    """If an error occurs and the input has changed, report the change."""
    try:
        yield
    except BadFile:
        source.inputs.check()
        raise


def write_out(lines: Iterable[bytes]) -> None:
    """Write bytes to standard output, independent of the locale's encoding."""
    try:
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # For the flush at exit.
        raise BadFile(f"standard output: {error.strerror or error}") from error
