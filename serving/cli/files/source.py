"""Texts from files of any format, in blocks, with the kept columns of their rows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from . import BadFile, lines
from .columns import Columns
from .inputs import File, Inputs

#: Rows per block.
ROWS = 1024
T = TypeVar("T")


@dataclass
class Block:
    """Rows of one file.

    Attributes:
        file: name of the file, followed by ``line`` or ``row``.
        places: line numbers of the rows; row numbers in Parquet, from 1.
        texts: the texts.
        kept: kept columns: one dict per row, or a RecordBatch of Arrow.
    """

    file: str
    places: list[int]
    texts: list[str]
    kept: Any

    def where(self, at: int) -> str:
        """The position of a row, for messages."""
        return f"{self.file} {self.places[at]}"


@dataclass
class Source:
    """Texts, with the kept columns of their rows.

    Args:
        inputs: the files.
        typed: texts from the command line, in place of files.
        columns: columns to read.
        encoding: encoding of text, JSONL and CSV; by default UTF-8, or the one of a byte-order mark.
        delimiter: delimiter of CSV.
        quotes: whether quotes have their CSV meaning, or are plain characters.
        skip: skip bad rows.

    Attributes:
        skipped: file, line and reason of the rows that the last reading skipped.
    """

    inputs: Inputs
    typed: tuple[str, ...] = ()
    columns: Columns = field(default_factory=Columns)
    encoding: str | None = None
    delimiter: str = ""
    quotes: bool = True
    skip: bool = False
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def blocks(self, size: int = ROWS) -> Iterator[Block]:
        """All rows, in order.

        Raises:
            BadFile: a file cannot be read, or its contents are wrong.
        """
        self.skipped = []
        if self.typed:
            for at in range(0, len(self.typed), size):
                texts = list(self.typed[at : at + size])
                yield Block("text", list(range(at + 1, at + 1 + len(texts))), texts, None)
        for file in self.inputs.files:
            if self.inputs.form == "parquet":
                from . import parquet

                yield from parquet.blocks(file, self.columns, size, self._bad(file))
                continue
            for rows in chunks(self._rows(file), size):
                places, texts, kept = (list(column) for column in zip(*rows, strict=True))
                yield Block(f"{file.name}, line", places, texts, kept if self.columns.any_kept else None)

    def texts(self) -> Iterator[str]:
        """Only the texts; raises as :meth:`blocks` does."""
        return (text for block in self.blocks() for text in block.texts)

    def header(self) -> list[str]:
        """The kept columns of CSV; raises as :meth:`blocks` does."""
        for file in self.inputs.files:
            next(self._rows(file), None)
        return self.columns.header

    def _rows(self, file: File) -> Iterator[lines.Row]:
        bad = self._bad(file)
        if self.inputs.form == "text":
            return lines.text_rows(file, self.encoding, bad)
        if self.inputs.form == "jsonl":
            return lines.jsonl_rows(file, self.encoding, self.columns, bad)
        delimiter = self.delimiter or {"csv": ",", "tsv": "\t"}[self.inputs.form]
        return lines.csv_rows(file, self.encoding, delimiter, self.quotes, self.columns, bad)

    def _bad(self, file: File) -> lines.Bad:
        def bad(place: int, reason: str) -> None:
            if not self.skip:
                raise BadFile(f"{file.name}, {'row' if self.inputs.form == 'parquet' else 'line'} {place}: {reason}")
            self.skipped.append({"file": file.name, "line": place, "reason": reason})

        return bad


def chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` values."""
    source = iter(values)
    while chunk := list(islice(source, size)):
        yield chunk
