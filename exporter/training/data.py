"""Labelled rows from CSV, TSV, JSONL and Parquet, held to what training needs before it begins."""

import csv
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError

#: Problems of one kind that a message names.
_NAMED = 5


class Row(NamedTuple):
    """A labelled text or pair.

    Attributes:
        texts: one, or two.
        label: as the file has it: a string, number, boolean or list of strings.
        at: its place in the file, for messages: ``line 7``, ``row 7``.
    """

    texts: tuple[str, ...]
    label: Any
    at: str


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        path: the file.
        rows: its rows, in order.
        sha256, size: of the file.
    """

    path: Path
    rows: tuple[Row, ...]
    sha256: str
    size: int

    def described(self) -> dict[str, Any]:
        """As run.json has it."""
        return {"file": str(self.path), "sha256": self.sha256, "bytes": self.size, "rows": len(self.rows)}


def read(named: str | os.PathLike[str], texts: Sequence[str], label: str, label_separator: str | None = None) -> Table:
    """Read a file of labelled rows.

    Args:
        named: the file; its ending says the format.
        texts: columns of texts, one or two.
        label: column of the label.
        label_separator: between the labels of a cell; a label is a list then, and an empty cell an empty one.

    Raises:
        DataError: it cannot be read, a column is missing, a text is empty or a label missing.
    """
    path = Path(named).expanduser().absolute()
    form = _FORMS.get(path.suffix.lower())
    if form is None:
        raise DataError(f"{path}: the name must end in {', '.join(_FORMS)}, which says the format")
    if not path.is_file():
        raise DataError(f"{path}: {'a folder, not a file' if path.is_dir() else 'there is no such file'}")
    rows, faults = [], list[str]()
    try:
        for at, record in form(path, (*texts, label)):
            if label_separator is not None and isinstance(record.get(label), str | None):
                parts = (record.get(label) or "").split(label_separator)
                record = {**record, label: [part.strip() for part in parts if part.strip()]}
            found = _row(at, record, texts, label)
            if isinstance(found, Row):
                rows.append(found)
            else:
                faults.append(found)
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if faults:
        raise DataError(f"{path}: {len(faults)} rows cannot be trained on: {_some(faults)}; mend them or take them out")
    if not rows:
        raise DataError(f"{path}: it has no rows")
    return Table(path, tuple(rows), digest.hexdigest(), path.stat().st_size)


def _row(at: str, record: Mapping[str, Any], texts: Sequence[str], label: str) -> Row | str:
    """The row, or what is wrong with it."""
    found = []
    for column in texts:
        text = record.get(column)
        if text is not None and not isinstance(text, str):
            return f"{at} ({column} is {text!r:.40}, not a text)"
        if text is None or not text.strip():
            return f"{at} ({column} is empty)"
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"{at} ({column} is no Unicode text: it has half of a surrogate pair)"
        found.append(text)
    value = record.get(label)
    if value is None or (isinstance(value, str) and not value.strip()):
        return f"{at} ({label} is empty)"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{at} ({label} is {value})"
    return Row(tuple(found), value, at)


def _some(faults: Sequence[str]) -> str:
    return ", ".join(faults[:_NAMED]) + (f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else "")


def _require_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    for column in wanted:
        if column not in found:
            raise DataError(
                f"{path}: there is no column {column!r}; it has {', '.join(map(repr, found)) or 'none'} (--text, "
                "--text-pair and --label name the columns)"
            )


def _lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file with their ends; a byte-order mark is left out."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            for line in stream:
                if "\0" in line:
                    raise DataError(f"{path}: not a text file: it has zero bytes")
                yield line
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); convert it first") from error


def _csv(delimiter: str) -> Callable[[Path, Sequence[str]], Iterator[tuple[str, Mapping[str, Any]]]]:
    def read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            _require_columns(path, header, columns)
            for name in columns:
                if header.count(name) > 1:
                    raise DataError(f"{path}: {header.count(name)} columns are called {name!r}")
            end = reader.line_num
            for cells in reader:
                at, end = f"line {end + 1}", reader.line_num
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise DataError(
                        f"{path}: {at} has {len(cells)} cells, and the first line names {len(header)} columns: texts "
                        f"with {'a tab' if delimiter != ',' else 'commas'} must be in quotes"
                    )
                yield at, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise DataError(f"{path}: not CSV, line {reader.line_num}: {error}") from error

    return read_csv


def _jsonl(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {number} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}: line {number} is {type(record).__name__}, not an object")
        _require_columns(path, list(record), columns)
        yield f"line {number}", record


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow: pip install 'rawbert[train]'") from error
    try:
        file = parquet.ParquetFile(path)
        _require_columns(path, file.schema_arrow.names, columns)
        number = 0
        for batch in file.iter_batches(columns=list(columns)):
            for record in batch.to_pylist():
                number += 1
                yield f"row {number}", record
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not readable as Parquet: {error}") from error


_FORMS: Mapping[str, Callable[[Path, Sequence[str]], Iterator[tuple[str, Mapping[str, Any]]]]] = {
    ".csv": _csv(","),
    ".tsv": _csv("\t"),
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
