"""Files of texts, as ``rawbert embed`` and ``rawbert bench`` read them: lines, JSONL, CSV, Parquet."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

INPUTS = {".txt": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
T = TypeVar("T")
#: Rows that are read or written at a time.
ROWS = 1024
#: A text, and what is kept of its row by name.
Row = tuple[str, dict[str, Any]]
#: Names that a result has itself.
_TAKEN = ("text", "embedding")


class BadFile(Exception):
    """A file that cannot be read or written; the message says where and why."""


@dataclass(frozen=True)
class Source:
    """Texts, with what is kept of their rows.

    Args:
        path: a file, which may be read more than once; ``None`` for standard input, which may not.
        form: text, jsonl, csv or parquet.
        column: field or column that holds the text.
        keep: further fields or columns to carry along; JSONL may lack them in a row.
        keep_all: carry all of them.
        name: what it is called in messages; the path if left out.
    """

    path: Path | None
    form: str
    column: str = "text"
    keep: tuple[str, ...] = ()
    keep_all: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", str(self.path or "standard input"))

    def rows(self) -> Iterator[Row]:
        """The rows, in order.

        Raises:
            BadFile: it is not of that form, or has no such column.
        """
        read = {"text": self._text, "jsonl": self._jsonl, "csv": self._csv, "parquet": self._parquet}[self.form]
        try:
            yield from read()
        except OSError as error:
            raise BadFile(f"{self.name}: {error.strerror or error}") from error

    def texts(self) -> Iterator[str]:
        """The texts alone; raises as :meth:`rows` does."""
        return (text for text, _ in self.rows())

    def fields(self) -> list[Any]:
        """Arrow fields of what is kept: a Parquet file's own, strings of CSV, whatever fits all rows of JSONL.

        Raises:
            BadFile: as :meth:`rows`; or values of one field are of kinds that do not go together.
        """
        if not (self.keep or self.keep_all):
            return []
        arrow = pyarrow()
        if self.form == "parquet":
            with self._opened_parquet() as file:
                schema = file.schema_arrow
                return [schema.field(name) for name in self._kept(schema.names)]
        if self.form == "csv":
            return [arrow.field(name, arrow.string()) for name in self._kept(self._csv_rows().fieldnames)]
        fields: dict[str, Any] = {name: arrow.field(name, arrow.null()) for name in self.keep}
        for block in blocks(kept for _, kept in self.rows()):
            for name in dict.fromkeys(name for kept in block for name in kept):
                try:
                    found = arrow.field(name, arrow.array([kept.get(name) for kept in block]).type)
                    before = arrow.schema([fields.get(name, found)])
                    unified = arrow.unify_schemas([before, arrow.schema([found])], promote_options="permissive")
                except (arrow.ArrowInvalid, arrow.ArrowTypeError, OverflowError) as error:
                    raise BadFile(
                        f"{self.name}: {name!r} holds values of kinds that one column of Parquet cannot ({error}); "
                        f"write .jsonl, or do not keep it"
                    ) from error
                fields[name] = unified.field(0)
        return list(fields.values())

    def _lines(self, errors: str = "strict") -> Iterator[str]:
        """Lines with their ends: a lone carriage return, as U+2028, may stand in a text."""
        number = 0
        with ExitStack() as stack:
            stream = sys.stdin.buffer if self.path is None else stack.enter_context(self.path.open("rb"))
            for number, line in enumerate(stream, 1):
                try:
                    decoded = line.decode("utf-8", errors)
                except UnicodeDecodeError as error:
                    raise BadFile(f"{self.name}, line {number}: not UTF-8: {error}") from error
                yield decoded.removeprefix("\ufeff") if number == 1 else decoded

    def _text(self) -> Iterator[Row]:
        # Bytes that are no UTF-8 become U+FFFD here, as they would in the model.
        return ((line.rstrip("\r\n"), {}) for line in self._lines("replace"))

    def _jsonl(self) -> Iterator[Row]:
        for number, line in enumerate(self._lines(), 1):
            where = f"{self.name}, line {number}"
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadFile(f"{where}: no JSON: {error}") from error
            if not isinstance(fields, dict) or self.column not in fields:
                raise BadFile(f"{where}: no object with the field {self.column!r}; see --column")
            text = _text(fields[self.column], f"{where}: {self.column!r}")
            yield text, {name: fields.get(name) for name in self._kept(fields)}

    def _csv(self) -> Iterator[Row]:
        rows = self._csv_rows()
        try:
            kept = self._kept(self._named(rows.fieldnames))
            for row in rows:
                where = f"{self.name}, line {rows.line_num}"
                yield _text(row[self.column], f"{where}: {self.column!r}"), {name: row[name] for name in kept}
        except csv.Error as error:
            raise BadFile(f"{self.name}, line {rows.line_num}: {error}") from error

    def _csv_rows(self) -> csv.DictReader[str]:
        csv.field_size_limit(2**31 - 1)  # A text may be longer than 128 KiB.
        return csv.DictReader(self._lines())

    def _parquet(self) -> Iterator[Row]:
        at = 0
        with self._opened_parquet() as file:
            kept = self._kept(file.schema_arrow.names)
            for batch in file.iter_batches(ROWS, columns=[self.column, *kept]):
                columns = [batch.column(name).to_pylist() for name in (self.column, *kept)]
                for text, *values in zip(*columns, strict=True):
                    yield _text(text, f"{self.name}, row {at}: {self.column!r}"), dict(zip(kept, values, strict=True))
                    at += 1

    @contextmanager
    def _opened_parquet(self) -> Iterator[Any]:
        arrow = pyarrow()
        if self.path is None:
            raise BadFile("Parquet is read from its end, and standard input has none: give a file with --input")
        try:
            with arrow.parquet.ParquetFile(self.path) as file:
                self._named(file.schema_arrow.names)
                yield file
        except arrow.ArrowException as error:
            raise BadFile(f"{self.name}: no Parquet that can be read: {error}") from error

    def _named(self, names: Iterable[str] | None) -> list[str]:
        """The columns, the text's among them."""
        found = list(names or ())
        if not found:
            raise BadFile(f"{self.name} is empty: not even a line with the names of its columns")
        for name in (self.column, *self.keep):
            if name not in found:
                option = "--column" if name == self.column else "--keep"
                hint = "; columns of CSV are separated by commas" if len(found) == 1 and self.form == "csv" else ""
                raise BadFile(f"{self.name} has the columns {', '.join(found)}, not {name!r}; see {option}{hint}")
        return found

    def _kept(self, names: Iterable[str] | None) -> list[str]:
        """Those to keep: of all names, or the ones asked for."""
        kept = [name for name in names or () if name != self.column] if self.keep_all else list(self.keep)
        for name in kept:
            if name in _TAKEN:
                raise BadFile(f"{self.name}: {name!r} cannot be kept, the output has a {name!r} of its own")
        return kept


def blocks(values: Iterable[T]) -> Iterator[list[T]]:
    """Lists of at most :data:`ROWS` values."""
    source = iter(values)
    while block := list(islice(source, ROWS)):
        yield block


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise BadFile(f"{where} is {'missing' if value is None else f'a {type(value).__name__}'}, not a text")
    return value


def pyarrow() -> Any:
    """The library, where it is installed.

    Raises:
        BadFile: it is not.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise BadFile("Parquet needs the data extra: pip install 'rawbert[data]'") from error
    return pyarrow
