"""Files of vectors, made so that an interruption loses and doubles nothing: ``rawbert embed --output``.

While it works, vectors stand in ``OUTPUT.partial`` as raw little-endian float32 rows, and what they were made from in
``OUTPUT.partial.json``. The same command goes on after the last whole row. OUTPUT itself appears by one rename. What
came by standard input is kept in ``OUTPUT.partial.input`` until then.
"""

import base64
import datetime
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from .files import BadFile, Row, Source, blocks, pyarrow

OUTPUTS = {".npy": "npy", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


@dataclass
class Job:
    """An output in the making.

    Args:
        output: the file that it will be.
        form: npy, jsonl or parquet.
        made_from: what tells this job from another: the input, the model, the signature.
    """

    output: Path
    form: str
    made_from: dict[str, Any]
    width: int = 0
    done: int = 0
    version: int | None = None

    def __post_init__(self) -> None:
        self.partial = self._beside("partial")
        self.notes = self._beside("partial.json")
        self.input = self._beside("partial.input")

    def keep_input(self, stream: IO[bytes]) -> Path:
        """Keep what comes by standard input, which cannot be read again; its hash tells it from another."""
        made, digest = self._beside("partial.input.writing"), hashlib.sha256()
        try:
            with self._written(made) as file:
                while block := stream.read1(1 << 16):  # type: ignore[attr-defined]
                    digest.update(block)
                    file.write(block)
            self.made_from["input"] = f"sha256:{digest.hexdigest()}"
            made.replace(self.input)
        finally:
            made.unlink(missing_ok=True)
        return self.input

    def resume(self) -> None:
        """Take up what an earlier run has left.

        Raises:
            BadFile: it was made from something else.
        """
        try:
            notes = json.loads(self.notes.read_text(encoding="utf-8"))
            size = self.partial.stat().st_size
            made_from, width, version = notes["made_from"], int(notes["width"]), notes["version"]
            done = size // (4 * width)
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise BadFile(f"{self.notes} is damaged: begin anew with --restart") from error
        if made_from != self.made_from:
            other = ", ".join(key for key, value in self.made_from.items() if made_from.get(key, value) != value)
            raise BadFile(
                f"{self.partial} is of an earlier run with another {other or 'input'}: begin anew with --restart"
            )
        self.done, self.width, self.version = done, width, version

    def discard(self) -> None:
        """Forget what an earlier run has left."""
        for path in (self.partial, self.notes, self.input):
            path.unlink(missing_ok=True)

    def append(self, vectors: Iterable[tuple[Any, int | None]], progress: Callable[[int], None]) -> None:
        """Put vectors, each with the version that made it, after those that are there already."""
        try:
            with self._written(self.partial, "r+b" if self.done else "wb") as file:
                file.truncate(self.done * self.width * 4)
                file.seek(0, os.SEEK_END)
                for vector, version in vectors:
                    if not self.width:
                        self._note(len(vector), version)
                    if len(vector) != self.width:
                        raise BadFile(f"a vector has {len(vector)} dimensions, the ones before it {self.width}")
                    file.write(np.asarray(vector, "<f4").tobytes())
                    self.done += 1
                    progress(1)
        except BaseException:
            if not self.done:
                self.discard()  # There is nothing to go on from.
            raise

    def finish(self, source: Source) -> None:
        """Write the output under a name of its own, rename it, and remove what was needed on the way."""
        if self.done:
            vectors: npt.NDArray[np.float32] = np.memmap(self.partial, "<f4", "r", shape=(self.done, self.width))
        else:
            vectors = np.zeros((0, self.width), np.float32)
        made = self._beside("writing")
        try:
            with self._written(made) as file:
                if self.form == "npy":
                    np.save(file, vectors)
                elif self.form == "jsonl":
                    for row, vector in zip(source.rows(), vectors, strict=True):
                        file.write(f"{json_line(row, vector)}\n".encode())
                else:
                    _write_parquet(file, source, vectors)
                file.flush()
                os.fsync(file.fileno())
            made.replace(self.output)
        finally:
            made.unlink(missing_ok=True)
        self.discard()

    def _beside(self, ending: str) -> Path:
        return self.output.with_name(f"{self.output.name}.{ending}")

    @contextmanager
    def _written(self, path: Path, mode: str = "wb") -> Any:
        try:
            with path.open(mode) as file:
                yield file
        except OSError as error:
            raise BadFile(f"{path}: {error.strerror or error}") from error

    def _note(self, width: int, version: int | None) -> None:
        self.width, self.version = width, version
        notes = {"made_from": self.made_from, "width": width, "version": version}
        made = self._beside("partial.json.writing")
        made.write_text(json.dumps(notes, indent=2), encoding="utf-8")
        made.replace(self.notes)


def _write_parquet(file: Any, source: Source, vectors: npt.NDArray[np.float32]) -> None:
    arrow = pyarrow()
    width = vectors.shape[1]
    kept = source.fields()
    schema = arrow.schema(
        [arrow.field("text", arrow.string()), *kept, arrow.field("embedding", arrow.list_(arrow.float32(), width))]
    )
    with arrow.parquet.ParquetWriter(file, schema) as writer:
        at = 0
        for rows in blocks(source.rows()):
            block = np.asarray(vectors[at : at + len(rows)])
            at += len(rows)
            columns = [arrow.array([text for text, _ in rows], arrow.string())]
            columns += [arrow.array([values.get(field.name) for _, values in rows], field.type) for field in kept]
            columns.append(arrow.FixedSizeListArray.from_arrays(arrow.array(block.ravel()), width))
            writer.write_table(arrow.table(columns, schema=schema))


def json_line(row: Row, vector: Any) -> str:
    """A text, what is kept of its row, and its vector as a line of JSON.

    Numbers of a vector are the shortest decimals that give the same float32 back.
    """
    text, kept = row
    fields = json.dumps({"text": text, **_plain(kept)}, ensure_ascii=False, allow_nan=False)
    return f'{fields[:-1]}, "embedding": [{", ".join(map(str, vector))}]}}'


def _plain(value: Any) -> Any:
    """What JSON can carry: NaN and infinity become null, bytes base64, times ISO 8601."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)
