"""Output formats: vectors, or texts with kept columns and vectors, or only kept columns."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

from . import BadFile, jsonl
from .columns import TAKEN
from .source import Block, Source

#: File name endings and their formats.
FORMS = {".npy": "npy", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_TEXT, _VECTOR = TAKEN


@dataclass
class Format:
    """An output format.

    Args:
        form: npy, jsonl or parquet.
        vectors: whether to write texts and vectors; else only kept columns.
        fields: Arrow fields of the kept columns, set by :meth:`prepare` for Parquet.
    """

    form: str
    vectors: bool = True
    fields: list[Any] = field(default_factory=list)

    def prepare(self, source: Source) -> None:
        """Find the column types of a typed output.

        Raises:
            BadFile: the values of the input do not fit into columns.
        """
        if self.form == "parquet":
            from . import parquet

            self.fields = parquet.schema(source)
            try:
                self.write(io.BytesIO(), [], 0, 1)
            except (ValueError, NotImplementedError) as error:
                raise BadFile(f"the kept columns cannot be written as Parquet; write .jsonl: {error}") from error

    def check(self, block: Block) -> None:
        """Check that the kept columns can be written.

        Raises:
            BadFile: a row cannot be written; the message contains the row.
        """
        if self.form == "parquet":
            from . import parquet

            parquet.arrays(block, self.fields)
        elif self.form == "jsonl" and block.kept is not None:
            rows = jsonl.kept(block)
            for at in range(len(block.texts)):
                try:
                    jsonl.line(next(rows))
                except (ValueError, RecursionError) as error:
                    raise BadFile(f"{block.where(at)}: the kept fields cannot be written as JSON: {error}") from error

    def write(self, file: IO[bytes], rows: Iterable[tuple[Block, Any]], count: int, width: int) -> None:
        """Write ``count`` rows, with vectors of ``width`` dimensions."""
        if self.form == "parquet":
            from . import parquet

            parquet.write(file, rows, self.fields, width if self.vectors else None)
        elif self.form == "npy":
            shape = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
            np.lib.format.write_array_header_1_0(file, shape)
            for _, vectors in rows:
                file.write(np.ascontiguousarray(vectors).tobytes())
        else:
            for block, vectors in rows:
                file.writelines(json_lines(block, vectors if self.vectors else None))


def json_lines(block: Block, vectors: Any) -> Iterable[bytes]:
    """Rows as lines of JSON, with texts and vectors if there are any."""
    for at, kept in enumerate(jsonl.kept(block)):
        if vectors is None:
            yield jsonl.line(kept)
        else:
            yield jsonl.line({_TEXT: block.texts[at], **kept}, vectors[at])
