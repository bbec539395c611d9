"""Files of texts in, files of vectors out, resumable: ``rawbert embed --input ... --output ...``.

While it works, vectors stand in ``OUTPUT.partial`` as raw little-endian float32 rows, and what they were made from in
``OUTPUT.partial.json``. The same command goes on after the last whole row. OUTPUT itself appears by one rename.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["INPUTS", "OUTPUTS", "BadFile", "Job", "json_line", "read", "write"]

INPUTS = {".txt": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
OUTPUTS = {".npy": "npy", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
#: Rows that are written at a time.
_ROWS = 1024


class BadFile(Exception):
    """A file that cannot be read or written; the message says where and why."""


def read(path: Path, form: str, column: str) -> Iterator[str]:
    """The texts of a file, in order.

    Raises:
        BadFile: it is not of that form, or has no such column.
    """
    try:
        yield from {"text": _lines, "jsonl": _jsonl, "csv": _csv, "parquet": _parquet}[form](path, column)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error


def _lines(path: Path, column: str) -> Iterator[str]:
    # Bytes that are no UTF-8 become U+FFFD here, as they would in the model.
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            yield line.rstrip("\r\n")


def _jsonl(path: Path, column: str) -> Iterator[str]:
    for number, line in enumerate(_lines(path, column), 1):
        try:
            text = json.loads(line)[column]
        except ValueError as error:
            raise BadFile(f"{path}, line {number}: no JSON: {error}") from error
        except (KeyError, TypeError, IndexError) as error:
            raise BadFile(f"{path}, line {number}: no object with the field {column!r}; see --column") from error
        yield _text(text, f"{path}, line {number}: {column!r}")


def _csv(path: Path, column: str) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if column not in (rows.fieldnames or ()):
            raise BadFile(f"{path} has the columns {', '.join(rows.fieldnames or ())}, not {column!r}; see --column")
        try:
            for row in rows:
                yield _text(row[column], f"{path}, line {rows.line_num}: {column!r}")
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadFile(f"{path}, line {rows.line_num}: {error}") from error


def _parquet(path: Path, column: str) -> Iterator[str]:
    arrow = _pyarrow()
    try:
        file = arrow.parquet.ParquetFile(path)
    except arrow.ArrowInvalid as error:
        raise BadFile(f"{path}: {error}") from error
    with file:
        if column not in file.schema_arrow.names:
            names = ", ".join(file.schema_arrow.names)
            raise BadFile(f"{path} has the columns {names}, not {column!r}; see --column")
        at = 0
        for batch in file.iter_batches(_ROWS, columns=[column]):
            for text in batch.column(0).to_pylist():
                yield _text(text, f"{path}, row {at}: {column!r}")
                at += 1


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise BadFile(f"{where} is {'missing' if value is None else f'a {type(value).__name__}'}, not a text")
    return value


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise BadFile("Parquet needs the data extra: pip install 'rawbert[data]'") from error
    return pyarrow


def json_line(text: str, vector: Any) -> str:
    """A text and its vector as a line of JSON, in the shortest decimals that give the same float32 back."""
    numbers = ", ".join(map(str, vector))
    return f'{{"text": {json.dumps(text, ensure_ascii=False)}, "embedding": [{numbers}]}}'


def write(path: Path, form: str, texts: Iterable[str], vectors: npt.NDArray[np.float32]) -> None:
    """Write a whole file under a name of its own, then rename it."""
    made = path.with_name(f"{path.name}.writing")
    try:
        if form == "npy":
            with made.open("wb") as file:
                np.save(file, vectors)
        elif form == "jsonl":
            with made.open("w", encoding="utf-8", newline="\n") as lines:
                for text, vector in zip(texts, vectors, strict=True):
                    lines.write(json_line(text, vector) + "\n")
        else:
            _write_parquet(made, texts, vectors)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(path)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    finally:
        made.unlink(missing_ok=True)


def _write_parquet(path: Path, texts: Iterable[str], vectors: npt.NDArray[np.float32]) -> None:
    arrow = _pyarrow()
    kind = arrow.list_(arrow.float32(), vectors.shape[1])
    schema = arrow.schema([("text", arrow.string()), ("embedding", kind)])
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        source = iter(texts)
        for start in range(0, len(vectors), _ROWS):
            block = vectors[start : start + _ROWS]
            column = arrow.FixedSizeListArray.from_arrays(arrow.array(np.asarray(block).ravel()), vectors.shape[1])
            writer.write_table(arrow.table([arrow.array(list(islice(source, len(block)))), column], schema=schema))


@dataclass
class Job:
    """An output in the making.

    Args:
        output: the file that it will be.
        made_from: what tells this job from another: the input and its time, the model, the signature.
    """

    output: Path
    made_from: dict[str, Any]
    width: int = 0
    done: int = 0
    version: int | None = None

    def __post_init__(self) -> None:
        self.partial = self.output.with_name(f"{self.output.name}.partial")
        self.notes = self.output.with_name(f"{self.output.name}.partial.json")

    def resume(self) -> None:
        """Take up what an earlier run has left.

        Raises:
            BadFile: it was made from something else.
        """
        try:
            notes = json.loads(self.notes.read_text(encoding="utf-8"))
            size = self.partial.stat().st_size
        except FileNotFoundError:
            return
        except ValueError as error:
            raise BadFile(f"{self.notes} is damaged: begin anew with --restart") from error
        if notes["made_from"] != self.made_from:
            raise BadFile(f"{self.partial} was made from another input, model or signature: begin anew with --restart")
        self.width, self.version = notes["width"], notes["version"]
        self.done = size // (4 * self.width)

    def discard(self) -> None:
        """Forget what an earlier run has left."""
        self.partial.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def append(self, vectors: Iterable[Any], progress: Callable[[int], None]) -> None:
        """Put vectors behind those that are there already."""
        try:
            with self.partial.open("r+b" if self.done else "wb") as file:
                file.truncate(self.done * self.width * 4)
                file.seek(0, os.SEEK_END)
                for vector in vectors:
                    if not self.width:
                        self._note(len(vector), vector.model_version)
                    if len(vector) != self.width:
                        raise BadFile(f"a vector has {len(vector)} dimensions, the ones before it {self.width}")
                    file.write(np.asarray(vector, "<f4").tobytes())
                    self.done += 1
                    progress(1)
        except OSError as error:
            raise BadFile(f"{self.partial}: {error.strerror or error}") from error

    def finish(self, form: str, texts: Iterable[str]) -> None:
        """Write the output, and remove what was needed on the way."""
        if self.done:
            vectors = np.memmap(self.partial, "<f4", "r", shape=(self.done, self.width))
        else:
            vectors = np.zeros((0, self.width), np.float32)  # type: ignore[assignment]
        write(self.output, form, texts, vectors)
        self.discard()

    def _note(self, width: int, version: int | None) -> None:
        self.width, self.version = width, version
        notes = {"made_from": self.made_from, "width": width, "version": version}
        made = self.notes.with_name(f"{self.notes.name}.writing")
        with suppress(FileNotFoundError):
            made.unlink()
        made.write_text(json.dumps(notes, indent=2), encoding="utf-8")
        made.replace(self.notes)
