"""Files of answers that are JSON values: labels, entities, scores. They are written like vectors, see :mod:`.job`."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from . import jsonl
from .job import Job
from .source import Block
from .writing import Format

Answer = dict[str, Any]
Rows = Iterable[tuple[Block, list[Answer]]]


class AnswerJob(Job):
    """A job with answers of any length; a record is a line with the digest in hexadecimal and the answer as JSON.

    Args:
        output, made_from, restart: see :class:`Job`.
        keys: function from a block to the keys of its answers.
    """

    def __init__(
        self, output: Path, made_from: dict[str, Any], restart: bool, keys: Callable[[Block], list[str]]
    ) -> None:
        #: Offset of each record, and the end of the last one.
        self._places: list[int] = []
        self._keys = keys
        super().__init__(output, made_from, restart)

    def keys(self, block: Block) -> list[str]:
        """The given keys."""
        return self._keys(block)

    def keep_matched(self) -> None:
        """As :meth:`Job.keep_matched`."""
        super().keep_matched()
        del self._places[self.done + 1 :]

    def _packed(self, answer: Any) -> bytes:
        return json.dumps(answer).encode()

    def _unpacked(self, packed: list[bytes]) -> Any:
        return [json.loads(each) for each in packed]

    def _write(self, digest: bytes, packed: bytes) -> None:
        self._places = self._places or [self._begin]
        self._places.append(self._places[-1] + self._file.write(digest.hex().encode() + packed + b"\n"))

    def _place(self, at: int) -> int:
        return self._places[at]

    def _read(self, at: int, count: int) -> list[tuple[bytes, bytes]]:
        if at >= self.done:
            return []
        self._file.seek(self._places[at])
        data = self._file.read(self._places[min(at + count, self.done)] - self._places[at])
        return [(bytes.fromhex(line[:32].decode()), line[32:]) for line in data.splitlines()]

    def _count(self, notes: dict[str, Any]) -> int:
        self._places = [self._begin]
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            bytes.fromhex(line[:32].decode())  # Raises a ValueError if the line is not a record.
            self._places.append(self._places[-1] + len(line))
        return len(self._places) - 1


@dataclass
class AnswerFormat(Format):
    """Output format of answers: texts, kept fields, and the answers' own fields.

    Args:
        form: jsonl or parquet.
        own: pyarrow -> the fields of an answer as Arrow fields.
        order: answers of all rows, with their indices as ``index`` -> the rows to write, in their order; by default
            all rows in the order of the input.
    """

    own: Callable[[Any], list[Any]] = lambda arrow: []
    order: Callable[[list[Answer]], list[int]] | None = None

    def write_answers(self, file: IO[bytes], rows: Rows) -> None:
        """Write everything."""
        rows = rows if self.order is None else numbered(rows)
        if self.form == "parquet":
            self._write_parquet(file, rows)
            return
        lines = ((answer, line) for block, answers in rows for answer, line in lines_of(block, answers))
        if self.order is None:
            file.writelines(line for _, line in lines)
        else:
            made = list(lines)
            file.writelines(made[at][1] for at in self.order([answer for answer, _ in made]))

    def _write_parquet(self, file: IO[bytes], rows: Rows) -> None:
        from . import parquet

        arrow = parquet.arrow()
        own = self.own(arrow)
        kinds, every = arrow.schema([arrow.field("text", arrow.string()), *self.fields, *own]), list[Answer]()
        tables = []
        with arrow.parquet.ParquetWriter(file, kinds) as writer:
            for block, answers in rows:
                columns = [arrow.array(block.texts, arrow.string()), *parquet.arrays(block, self.fields)]
                columns += [arrow.array([each[field.name] for each in answers], field.type) for field in own]
                table = arrow.table(columns, schema=kinds)
                if self.order is None:
                    writer.write_table(table)
                else:
                    tables.append(table)
                    every += answers
            if self.order is not None and tables:
                writer.write_table(arrow.concat_tables(tables).take(self.order(every)))


def lines_of(block: Block, answers: Iterable[Answer]) -> Iterator[tuple[Answer, bytes]]:
    """Each answer, and its row as a line of JSON."""
    for text, kept, answer in zip(block.texts, jsonl.kept(block), answers, strict=True):
        yield answer, jsonl.line({"text": text, **kept, **answer})


def numbered(rows: Rows) -> Iterator[tuple[Block, list[Answer]]]:
    """Answers with their positions among all, from 0, as ``index``."""
    count = itertools.count()
    for block, answers in rows:
        yield block, [{"index": next(count), **answer} for answer in answers]
