"""Labelled rows from CSV, TSV, JSONL and Parquet, checked before training."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...serving.cli.files import BadFile, inputs, jsonl
from ...serving.cli.files.columns import Columns
from ...serving.cli.files.inputs import Inputs
from ...serving.cli.files.source import Source
from ...serving.plurals import counted
from .. import scratch
from ..errors import DataError, os_errors_as

#: Formats of rows with labels.
FORMATS = ("csv", "tsv", "jsonl", "parquet")
#: Formats of rows with tags, see :mod:`.tagged`.
TAGGED = ("conll", "jsonl", "parquet")
#: Maximum number of faults in a message.
_NAMED = 5


class Row(NamedTuple):
    """A labelled text or pair.

    Attributes:
        texts: one, or two.
        label: value in the file: a string, number, boolean or list of strings.
        at: its place, for messages; see :meth:`Files.records`.
    """

    texts: tuple[str, ...]
    label: Any
    at: str


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Attributes:
        path: of the file or files; see :class:`Files`.
        rows: in order.
        sha256, size: of the files.
    """

    path: Path
    rows: tuple[Row, ...]
    sha256: str
    size: int

    def described(self) -> dict[str, Any]:
        """The form for run.json."""
        return {"file": str(self.path), "sha256": self.sha256, "bytes": self.size, "rows": len(self.rows)}


class Form(NamedTuple):
    """Format of files of rows.

    Attributes:
        format: ``csv``, ``tsv``, ``jsonl`` or ``parquet``; ``None`` by the file's name.
        encoding: encoding of CSV and JSONL; ``None`` is UTF-8, or the one of a byte-order mark.
        delimiter: delimiter of CSV; empty for a comma, and a tab in TSV.
        no_quotes: read quotes in CSV as plain characters.
    """

    format: str | None = None
    encoding: str | None = None
    delimiter: str = ""
    no_quotes: bool = False


#: The format from the file's name.
BY_NAME = Form()


class Files:
    """The files of labelled rows at a path: a file, the files of a folder or a glob, or standard input.

    Attributes:
        path: absolute path, as the user named it; ``-`` is standard input.
        inputs: its files.
    """

    def __init__(self, path: Path, inputs: Inputs, form: Form) -> None:
        self.path, self.inputs, self._form = path, inputs, form

    def records(self, columns: Mapping[str, str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every row: its place, and the values of some columns.

        A place is ``line 7``, or ``row 7`` of Parquet, with the file's name where there are several files. Values have
        the types of JSON; ``None`` is a missing value, null or NaN.

        Args:
            columns: names of columns -> the command's options for them, for messages. ``a.b`` is the field ``b`` of
                the column ``a``. ``None``: all columns.

        Raises:
            BadFile: a file cannot be read, or has no such column.
        """
        form, kind = self._form, self.inputs.form
        if kind not in FORMATS:
            raise BadFile(f"{self.path}: lines without columns; expected {', '.join(FORMATS)}: see --input-format")
        if form.encoding and kind == "parquet":
            raise BadFile(f"{self.path}: leave --encoding out: it is for CSV and JSONL, and Parquet is always UTF-8")
        if (form.delimiter or form.no_quotes) and kind not in ("csv", "tsv"):
            raise BadFile(f"{self.path}: leave --delimiter and --no-quotes out: they are for CSV")
        wanted = Columns(None, tuple(columns or ()), columns is None, taken=(), options=columns or {})
        source = Source(self.inputs, (), wanted, form.encoding, form.delimiter, not form.no_quotes)
        for block in source.blocks():
            at = 0
            try:
                for record in jsonl.kept(block):
                    yield self.place(block.where(at)), record
                    at += 1
            except UnicodeDecodeError as error:
                raise BadFile(f"{block.where(at)}: a text is not UTF-8; convert it") from error
        wanted.check()

    def place(self, named: str) -> str:
        """A place in a file, without the file's name if there is only one."""
        return named.removeprefix(f"{self.inputs.files[0].name}, ") if len(self.inputs.files) == 1 else named

    def hashed(self) -> tuple[str, int]:
        """The sha256 and the size of the concatenated files."""
        digest, size = hashlib.sha256(), 0
        for file in self.inputs.files:
            assert file.path is not None
            with file.path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
                    size += len(block)
        return digest.hexdigest(), size


@contextmanager
def opened(named: str | os.PathLike[str], form: Form = BY_NAME) -> Iterator[Files]:
    """Find files of labelled rows, and check at the end that they are unchanged.

    Raises:
        DataError: no files, an unreadable file, or a file that changed.
    """
    path = Path(named) if os.fspath(named) == inputs.STANDARD else Path(named).expanduser().absolute()
    with scratch.temporary() as folder, os_errors_as(DataError, f"{path}: cannot be read"):
        try:
            found = Inputs([str(path)], form.format).open(folder / "rows")
            yield Files(path, found, form)
            found.check()
        except BadFile as error:
            raise DataError(str(error)) from error


def read(
    named: str | os.PathLike[str],
    texts: Sequence[str],
    label: str,
    label_separator: str | None = None,
    form: Form = BY_NAME,
) -> Table:
    """Read labelled rows.

    Args:
        named: see :class:`Files`.
        texts: columns of texts, one or two.
        label: column of the label.
        label_separator: separator of the labels in a cell; a label is then a list, empty for an empty cell.
        form: format of the files.

    Raises:
        DataError: they cannot be read, a column is missing, a text is empty or a label missing.
    """
    columns = {**dict(zip(texts, ("--text", "--text-pair"), strict=False)), label: "--label"}
    rows, faults = [], list[str]()
    with opened(named, form) as files:
        for at, record in files.records(columns):
            if label_separator is not None and isinstance(record[label], str | None):
                parts = (record[label] or "").split(label_separator)
                record = {**record, label: [part.strip() for part in parts if part.strip()]}
            found = row(at, record, texts, label)
            if isinstance(found, Row):
                rows.append(found)
            else:
                faults.append(found)
        return table_of(files, rows, faults)


def table_of(files: Files, rows: Sequence[Row], faults: Sequence[str]) -> Table:
    """The rows of files as a table, if none has a fault.

    Raises:
        DataError: a row has a fault, or there are no rows.
    """
    if faults:
        raise DataError(
            f"{files.path}: {counted(len(faults), 'row')} cannot be used for training: {some(faults)}; correct or "
            "remove them"
        )
    if not rows:
        raise DataError(f"{files.path}: it has no rows; add labelled rows")
    return Table(files.path, tuple(rows), *files.hashed())


def row(at: str, record: Mapping[str, Any], texts: Sequence[str], label: str) -> Row | str:
    """The row, or a description of its fault."""
    found = []
    for column in texts:
        text = record[column]
        if text is not None and not isinstance(text, str):
            return f"{at} ({column} is {text!r:.40}, not a text)"
        if text is None or not text.strip():
            return f"{at} ({column} is empty)"
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"{at} ({column} is not Unicode text: it has half of a surrogate pair)"
        found.append(text)
    value = record[label]
    if value is None or (isinstance(value, str) and not value.strip()):
        return f"{at} ({label} is empty)"
    return Row(tuple(found), value, at)


def some(faults: Sequence[str]) -> str:
    """The first faults, for a message."""
    return ", ".join(faults[:_NAMED]) + (f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else "")
