"""The formats of outputs: vectors, texts and what is kept, or what is kept alone."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

from . import BadFile, jsonl
from .columns import TAKEN
from .source import Block, Source

#: Endings of names, and their formats.
FORMS = {".npy": "npy", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_TEXT, _VECTOR = TAKEN


@dataclass
class Format:
    """How an output is written.

    Args:
        form: npy, jsonl or parquet.
        vectors: with texts and vectors; else what is kept alone.
        fields: Arrow's fields of what is kept, which :meth:`prepare` finds for Parquet.
    """

    form: str
    vectors: bool = True
    fields: list[Any] = field(default_factory=list)

    def prepare(self, source: Source) -> None:
        """See what types the columns of an output have that has types.

        Raises:
            BadFile: the input's values do not fit in columns.
        """
        if self.form == "parquet":
            from . import parquet

            self.fields = parquet.schema(source)
            try:
                self.write(io.BytesIO(), [], 0, 1)
            except (ValueError, NotImplementedError) as error:
                raise BadFile(f"what is kept cannot be written as Parquet: {error}") from error

    def check(self, block: Block) -> None:
        """See that what is kept can be written.

        Raises:
            BadFile: it cannot, with the row.
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
                    raise BadFile(f"{block.where(at)}: what is kept cannot be written as JSON: {error}") from error

    def write(self, file: IO[bytes], rows: Iterable[tuple[Block, Any]], count: int, width: int) -> None:
        """Write everything: ``count`` rows, with vectors of ``width`` dimensions."""
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
    """Rows as lines of JSON, with texts and vectors where there are any."""
    for at, kept in enumerate(jsonl.kept(block)):
        if vectors is None:
            yield jsonl.line(kept)
        else:
            yield jsonl.line({_TEXT: block.texts[at], **kept}, vectors[at])
