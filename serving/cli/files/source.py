"""Texts of files of any format, in blocks, with what is kept of their rows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from . import BadFile, lines
from .columns import Columns
from .inputs import File, Inputs

#: Rows that are read and written at a time.
ROWS = 1024
T = TypeVar("T")


@dataclass
class Block:
    """Rows of one file.

    Attributes:
        file: its name, and what its places are.
        places: numbers of the rows' lines; of the rows themselves in Parquet, from 1.
        texts: the texts.
        kept: what is kept: a dict a row, or the columns as a RecordBatch of Arrow.
    """

    file: str
    places: list[int]
    texts: list[str]
    kept: Any

    def where(self, at: int) -> str:
        """The place of a row, for messages."""
        return f"{self.file} {self.places[at]}"


@dataclass
class Source:
    """Texts, with what is kept of their rows.

    Args:
        inputs: the files.
        typed: texts that were given on the command line, in place of files.
        columns: what is read of the files.
        encoding: of text, JSONL and CSV; UTF-8, or what a byte-order mark says, if left out.
        delimiter: of CSV.
        quotes: whether quotes are what they are in CSV, not plain characters.
        skip: leave bad rows out.

    Attributes:
        skipped: file, line and reason of what the last reading left out.
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
            BadFile: a file cannot be read, or is not what it should be.
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
        """The texts alone; raises as :meth:`blocks` does."""
        return (text for block in self.blocks() for text in block.texts)

    def header(self) -> list[str]:
        """The columns to keep of CSV; raises as :meth:`blocks` does."""
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
