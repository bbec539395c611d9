"""Output files of long jobs: an interrupted job keeps its results, and OUTPUT is never incomplete.

During the job, ``OUTPUT.partial`` contains a line of JSON with the settings of the vectors, and then a record for each
text: a digest of the text and its vector, and the vector. A later run compares the digests: it reuses the records of
the texts at the beginning of its input. OUTPUT itself appears by one rename.
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from . import BadFile, jsonl
from .inputs import Inputs
from .source import Block, Source

try:
    import fcntl
except ImportError:  # Windows has no flock(2): two runs with the same output are not detected.
    fcntl = None  # type: ignore[assignment]

#: Size of a digest in bytes, and the beginning of the line of JSON.
_DIGEST, _HEAD = 16, b'{"made_from": '
#: An output file: its path, and the function that writes it.
Product = tuple[Path, Callable[[IO[bytes]], None]]


class Job:
    """An output in progress, locked against other runs; a context manager.

    Args:
        output: the final file.
        made_from: settings on which the vectors depend: the model, the signature.
        restart: discard the results of an earlier run.

    Attributes:
        made_from: the argument.
        done: number of texts with a vector.
        matched: number of texts at the beginning of the input whose vectors exist already.
        listed: the file that lists skipped rows.
        width: dimensions of a vector; 0 while there is none.
        version: the model version that computed the vectors; ``None`` if unknown.

    Raises:
        BadFile: another run writes the same output, or an earlier run had other settings.
    """

    def __init__(self, output: Path, made_from: dict[str, Any], restart: bool = False) -> None:
        self.output = output
        self.partial = self.next_to("partial")
        self.spool = self.next_to("partial.input")
        self.listed = self.next_to("skipped.jsonl")
        self.done = self.matched = self.width = 0
        self.version: int | None = None
        self.made_from = made_from
        self._matching = True
        self._begin = 0
        with writing(self.partial):
            self._file = _locked(self.partial)
        try:
            if restart:
                self._file.truncate(0)
            self._load()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        with contextlib.suppress(OSError):
            if not self.done:
                self.partial.unlink(missing_ok=True)  # It contains no vectors.
            self._file.close()

    def next_to(self, ending: str) -> Path:
        """A file next to the output."""
        return self.output.with_name(f"{self.output.name}.{ending}")

    def match(self, texts: list[str]) -> None:
        """Compare the next texts of the input with an earlier run; equal ones count as ``matched``."""
        records = self._read(self.matched, len(texts)) if self._matching and self.done else []
        for text, (digest, packed) in zip(texts, records, strict=False):
            if _digest(text, packed) != digest:
                break
            self.matched += 1
        else:
            self._matching = self._matching and len(records) == len(texts)
            return
        self._matching = False

    def keep_matched(self) -> None:
        """Continue after the texts that matched.

        Raises:
            BadFile: no text matched: the vectors are of another input.
        """
        if self.done and not self.matched:
            raise BadFile(f"{self.partial} belongs to an earlier run with another input: start again with --restart")
        self.done = self.matched

    def append(self, pairs: Iterable[tuple[str, Any, int | None]], progress: Callable[[int], None]) -> None:
        """Append texts, each with its vector and model version."""
        with writing(self.partial):
            if self._begin:
                self._file.truncate(self._place(self.done))
                self._file.seek(0, os.SEEK_END)
            for text, answer, version in pairs:
                packed = self._packed(answer)
                if not self._begin:
                    self._note(version)
                self._write(_digest(text, packed), packed)
                self.done += 1
                progress(1)
            self._file.flush()

    def rows(self, source: Source) -> Iterator[tuple[Block, Any]]:
        """Read the input again, together with the vectors, float32 ``[rows, width]``.

        Raises:
            BadFile: the input differs from the one of the vectors.
        """
        at = 0
        for block in source.blocks():
            records = self._read(at, len(block.texts))
            for text, (digest, packed) in zip(self.keys(block), records, strict=False):
                if _digest(text, packed) != digest:
                    raise BadFile(
                        f"{block.where(0)} and later: the texts have changed since they were embedded; run again"
                    )
            at += len(block.texts)
            if len(records) < len(block.texts):
                break
            yield block, self._unpacked([packed for _, packed in records])
        if at != self.done:
            raise BadFile(f"the input no longer has the {self.done} rows that were embedded; run again")

    def publish(self, products: list[Product], skipped: list[dict[str, Any]], inputs: Inputs, overwrite: bool) -> None:
        """Write all files under temporary names and rename them together, the output last.

        Args:
            products: the files; the output is the last.
            skipped: skipped rows, to be listed in a file; the list of an earlier output is removed.
            inputs: the inputs, checked to be unchanged before anything appears.
            overwrite: replace existing files.

        Raises:
            BadFile: an input has changed, a file cannot be written, or another program has created it meanwhile.
        """
        names = [path for path, _ in products]
        if skipped:
            products = [(self.listed, lambda file: file.writelines(map(jsonl.line, skipped))), *products]
        stale = [] if skipped or not self.listed.exists() else [self.listed]
        made = [path.with_name(f"{path.name}.writing") for path, _ in products]
        try:
            for path, (_, write) in zip(made, products, strict=True):
                with writing(path), path.open("wb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
            inputs.check()
            if there := [path for path in names if path.exists() and not overwrite]:
                raise BadFile(f"{there[0]} was created meanwhile; replace it with --overwrite")
            with writing(self.output):
                if len(products) > 1 or stale:
                    self.output.unlink(missing_ok=True)  # OUTPUT never exists together with files of another run.
                for path in stale:
                    path.unlink(missing_ok=True)
                for path, (name, _) in zip(made, products, strict=True):
                    path.replace(name)
        finally:
            for path in made:
                path.unlink(missing_ok=True)
        self.done = 0  # Nothing is left to continue from.
        self.partial.unlink(missing_ok=True)
        inputs.discard()

    # --- Parts that depend on the kind of answers ---

    def keys(self, block: Block) -> list[str]:
        """The keys of the answers of a block: its texts."""
        return block.texts

    def _packed(self, answer: Any) -> bytes:
        made = np.asarray(answer, "<f4")
        self.width = self.width or len(made)
        if len(made) != self.width:
            raise BadFile(
                f"a vector has {len(made)} dimensions, but earlier ones {self.width}: start again with --restart"
            )
        return made.tobytes()

    def _unpacked(self, packed: list[bytes]) -> Any:
        return np.frombuffer(b"".join(packed), "<f4").reshape(-1, self.width)

    def _write(self, digest: bytes, packed: bytes) -> None:
        self._file.write(digest + packed)

    def _place(self, at: int) -> int:
        """Offset of a record."""
        return self._begin + at * (_DIGEST + 4 * self.width)

    def _read(self, at: int, count: int) -> list[tuple[bytes, bytes]]:
        """Up to ``count`` digests and packed answers, from index ``at``."""
        size = _DIGEST + 4 * self.width
        self._file.seek(self._place(at))
        data = self._file.read(min(count, self.done - at) * size)
        return [
            (data[place : place + _DIGEST], data[place + _DIGEST : place + size]) for place in range(0, len(data), size)
        ]

    def _count(self, notes: dict[str, Any]) -> int:
        """Number of complete records of an earlier run."""
        self.width = int(notes["width"])
        if self.width < 1:
            raise ValueError("no width")
        return (self._file.seek(0, os.SEEK_END) - self._begin) // (_DIGEST + 4 * self.width)

    # --- Parts that all jobs share ---

    def _load(self) -> None:
        """Read the state of an earlier run."""
        line = self._file.readline()
        if not line.endswith(b"\n") and line[: len(_HEAD)] == _HEAD[: len(line)]:
            return  # Empty, or interrupted before the first vector.
        try:
            notes = json.loads(line)
            made_from, self.version = notes["made_from"], notes["version"]
            self._begin = len(line)
            done = self._count(notes)
        except (ValueError, KeyError, TypeError) as error:
            raise BadFile(f"{self.partial} is damaged: start again with --restart") from error
        if made_from != self.made_from:
            other = ", ".join(key for key, value in self.made_from.items() if made_from.get(key) != value)
            raise BadFile(f"{self.partial} belongs to an earlier run with another {other}: start again with --restart")
        self.done = done

    def _note(self, version: int | None) -> None:
        self.version = version
        line = json.dumps({"made_from": self.made_from, "width": self.width, "version": version}) + "\n"
        self._file.seek(0)
        self._file.truncate()
        self._begin = self._file.write(line.encode())


def _digest(text: str, packed: bytes) -> bytes:
    digest = hashlib.blake2b(text.encode(), digest_size=_DIGEST)
    digest.update(packed)
    return digest.digest()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError during writing into a BadFile with the file's name."""
    try:
        yield
    except OSError as error:
        raise BadFile(f"{error.filename or path}: {error.strerror or error}") from error


def _locked(path: Path) -> IO[bytes]:
    """Open, or create, a file and lock it. The lock ends with the process."""
    while True:
        file = open(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b")  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run that held the lock may have removed the file after it was opened here.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except BlockingIOError:
            file.close()
            raise BadFile(
                f"{path} is in use: another run writes the same output; wait for it, or give another --output"
            ) from None
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP):
                return file  # The file system has no locks.
            raise
        file.close()
