"""Lines of text, JSONL and CSV: decoded, numbered and checked one by one."""

import codecs
import csv
import gzip
import io
import json
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from ...plurals import counted
from . import BadFile
from .columns import MISSING, Columns, nearest, value_of
from .inputs import File

#: Called with the number and the fault of a line; if it returns, the row is skipped.
Bad = Callable[[int, str], None]
#: Line number, text, kept fields.
Row = tuple[int, str, dict[str, Any]]
#: Replacement for undecodable bytes: no decoder of UTF-8 or UTF-16 produces a lone surrogate.
_UNDECODED = "\udcff"
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
#: First bytes of files that are not text.
_OTHERS = {b"PK\x03\x04": "a zip archive, as spreadsheets are: save it as CSV", b"PAR1": "Parquet: name it .parquet"}

#: Message of Python's CSV reader -> explanation.
_CSV_FAULTS = {
    "unexpected end of data": "a quote is not closed; close it, or use --no-quotes for plain quote characters",
    "expected after": "a quote inside a text must be doubled; or use --no-quotes for plain quote characters",
    "new-line character": "a carriage return inside a line; end lines with a line feed, or both",
}


def _undecoded(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _UNDECODED, error.end


#: Name of the error handler for undecodable bytes.
UNDECODED = "rawbert.undecoded"
codecs.register_error(UNDECODED, _undecoded)


def lines(file: File, encoding: str | None) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends, from plain or gzipped bytes; only a line feed ends a line.

    Raises:
        BadFile: the file cannot be read.
    """
    try:
        with ExitStack() as stack:
            raw: Any = sys.stdin.buffer if file.path is None else stack.enter_context(file.path.open("rb"))
            if raw.peek(2)[:2] == b"\x1f\x8b":
                raw = gzip.GzipFile(fileobj=raw)
            if kind := _OTHERS.get(raw.peek(4)[:4]):
                raise BadFile(f"{file.name}: not a text file, but {kind}")
            mark = next((name for mark, name in _MARKS.items() if raw.peek(4).startswith(mark)), "utf-8")
            text = io.TextIOWrapper(raw, encoding or mark, errors=UNDECODED, newline="\n")
            stack.callback(text.detach)
            for number, line in enumerate(text, 1):
                yield number, line.removeprefix("\ufeff") if number == 1 else line
    except (EOFError, zlib.error) as error:
        raise BadFile(f"{file.name}: the gzip data is cut or damaged; get the file again: {error}") from error
    except OSError as error:
        raise BadFile(f"{file.name}: {error.strerror or error}") from error


def text_rows(file: File, encoding: str | None, bad: Bad) -> Iterator[Row]:
    """One text per line."""
    for number, line in lines(file, encoding):
        if fault := _fault(line, encoding):
            bad(number, fault)
        else:
            yield number, line.removesuffix("\n").removesuffix("\r"), {}


def jsonl_rows(file: File, encoding: str | None, columns: Columns, bad: Bad) -> Iterator[Row]:
    """One object per line; blank lines are ignored."""
    for number, line in lines(file, encoding):
        if not line.strip():
            continue
        try:
            if fault := _fault(line, encoding):
                raise ValueError(fault)
            fields = {**file.partition, **_object(line)}
            text = _text(fields, columns)
        except UnicodeEncodeError:
            bad(number, f"{columns.text!r} has a lone surrogate, which UTF-8 cannot encode")
        except ValueError as error:
            bad(number, str(error))
        else:
            yield number, text, columns.of_object(fields)


def csv_rows(
    file: File, encoding: str | None, delimiter: str, quotes: bool, columns: Columns, bad: Bad
) -> Iterator[Row]:
    """One record per row, after the header; blank lines are ignored."""
    header: list[str] | None = None
    places: dict[str, int] = {}
    kept: list[str] = []
    added: list[Any] = []
    for number, fields, fault in _records(lines(file, encoding), encoding, delimiter, quotes):
        if header is None:
            if fault:
                raise BadFile(f"{file.name}, line {number}: {fault}")
            header = fields
            partition = {name: value for name, value in file.partition.items() if name not in header}
            added = [value if value is None else str(value) for value in partition.values()]
            names = [*header, *partition]
            kept = columns.of_header(file.name, names, _separated(header, delimiter))
            places = {name: at for at, name in enumerate(names)}
        elif fault:
            bad(number, fault)
        elif len(fields) != len(header):
            why = f"{counted(len(fields), 'field')}, but the header has {len(header)}"
            if len(fields) < len(header):
                bad(number, f"{header[len(fields)]!r} is missing: {why}")
            else:
                bad(number, f"{why}: put a text that contains the delimiter into quotes")
        else:
            fields += added
            text = "" if columns.text is None else fields[places[columns.text]]
            yield number, text, {name: fields[places[name]] for name in kept}
    if header is None:
        raise BadFile(f"{file.name} is empty: CSV needs a first line with the names of its columns")


def _records(
    numbered: Iterator[tuple[int, str]], encoding: str | None, delimiter: str, quotes: bool
) -> Iterator[tuple[int, list[str], str]]:
    """Number of the first line, fields, and their fault, if there is one.

    An unclosed quote affects only its own line: the lines after it are read again.
    """
    csv.field_size_limit(2**31 - 1)  # A text may be longer than 128 KiB.
    again: deque[tuple[int, str]] = deque()
    taken: list[tuple[int, str]] = []

    def feed() -> Iterator[str]:
        while line := again.popleft() if again else next(numbered, None):
            taken.append(line)
            yield line[1]

    while True:
        reader = csv.reader(
            feed(), strict=True, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        )
        try:
            for fields in reader:
                fault = next((f"line {number}: {why}" for number, line in taken if (why := _fault(line, encoding))), "")
                if fields:
                    yield taken[0][0], fields, fault.removeprefix(f"line {taken[0][0]}: ")
                taken.clear()
            return
        except csv.Error as error:
            why = next((why for words, why in _CSV_FAULTS.items() if words in str(error)), str(error))
            yield taken[0][0], [], why
            again.extendleft(reversed(taken[1:]))
            taken.clear()


def _separated(header: list[str], delimiter: str) -> str:
    """A hint for a header that probably has another delimiter."""
    found = [each for each in ",;\t|" if len(header) == 1 and each != delimiter and each in header[0]]
    by = {",": "commas", "\t": "tabs"}.get(delimiter, repr(delimiter))
    return f"; its columns should be separated by {by}: see --delimiter {found[0]!r}" if found else ""


def _object(line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    return fields if isinstance(fields, dict) else {}


def _text(fields: dict[str, Any], columns: Columns) -> str:
    if columns.text is None:
        if not fields:
            raise ValueError("not a JSON object with fields")
        return ""
    text = value_of(fields, columns.text)
    if text is MISSING:
        hint = nearest(columns.text, fields)
        raise ValueError(f"the object has no field {columns.text!r}; see {columns.option(columns.text)}{hint}")
    if not isinstance(text, str):
        kind = "null" if text is None else f"a {type(text).__name__}"
        raise ValueError(f"{columns.text!r} is {kind}, not a text")
    if not text.isascii():
        text.encode()
    return text


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return fields


def _fault(line: str, encoding: str | None) -> str:
    if _UNDECODED in line:
        return f"not {encoding or 'UTF-8'}: undecodable bytes; see --encoding"
    return "a NUL byte: is the file UTF-16, or damaged? see --encoding" if "\0" in line else ""
