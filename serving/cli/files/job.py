"""The making of an output file, which an interruption neither spoils nor loses.

While it is made, ``OUTPUT.partial`` has a line of JSON, which says what the vectors are of, and then a record for each
text: a digest of the text and its vector, and the vector. The digests are what a later run goes on by: it takes the
records of the texts that its input begins with. OUTPUT itself appears by one rename.
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
except ImportError:  # Windows, which has no flock(2): two runs into one output are not told apart.
    fcntl = None  # type: ignore[assignment]

#: Bytes of a digest, and what the line of JSON begins with.
_DIGEST, _HEAD = 16, b'{"made_from": '
#: A file of what was made: its path, and what writes it.
Product = tuple[Path, Callable[[IO[bytes]], None]]


class Job:
    """An output in the making, locked against other runs; a context manager.

    Args:
        output: the file that it will be.
        made_from: what tells the vectors from others: the model, the signature.
        restart: forget what an earlier run has left.

    Attributes:
        made_from: as given.
        done: texts whose vectors are there.
        matched: texts of the input, from its beginning, whose vectors are there.
        listed: the file in which rows that were left out are listed.
        width: dimensions of a vector; 0 while there is none.
        version: the version of the model that made them; ``None`` where it is not known.

    Raises:
        BadFile: another run has it, or an earlier run made it from something else.
    """

    def __init__(self, output: Path, made_from: dict[str, Any], restart: bool = False) -> None:
        self.output = output
        self.partial = self.beside("partial")
        self.spool = self.beside("partial.input")
        self.listed = self.beside("skipped.jsonl")
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
                self.partial.unlink(missing_ok=True)  # There is nothing to go on from.
            self._file.close()

    def beside(self, ending: str) -> Path:
        """A file beside the output."""
        return self.output.with_name(f"{self.output.name}.{ending}")

    def match(self, texts: list[str]) -> None:
        """The next texts of the input: those that were the same before are counted as ``matched``."""
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
        """Go on after the texts that matched.

        Raises:
            BadFile: none did: the vectors are of another input.
        """
        if self.done and not self.matched:
            raise BadFile(f"{self.partial} is of an earlier run with another input: begin anew with --restart")
        self.done = self.matched

    def append(self, pairs: Iterable[tuple[str, Any, int | None]], progress: Callable[[int], None]) -> None:
        """Put texts, each with its vector and the version that made it, after those that are there."""
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
        """The input once more, with the vectors, float32 ``[rows, width]``.

        Raises:
            BadFile: it is not what the vectors were made from.
        """
        at = 0
        for block in source.blocks():
            records = self._read(at, len(block.texts))
            for text, (digest, packed) in zip(self.keys(block), records, strict=False):
                if _digest(text, packed) != digest:
                    raise BadFile(f"{block.where(0)} and after it: not the texts that were embedded")
            at += len(block.texts)
            if len(records) < len(block.texts):
                break
            yield block, self._unpacked([packed for _, packed in records])
        if at != self.done:
            raise BadFile(f"the input has other rows than the {self.done} that were embedded")

    def publish(self, products: list[Product], skipped: list[dict[str, Any]], inputs: Inputs, overwrite: bool) -> None:
        """Write files under names of their own and rename them together, the output last.

        Args:
            products: the files; the output is the last.
            skipped: rows that were left out: they are listed in a file, and that of an earlier output is removed.
            inputs: seen to be unchanged before anything appears.
            overwrite: replace files that are there.

        Raises:
            BadFile: an input has changed, a file cannot be written, or another program has made it meanwhile.
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
                raise BadFile(f"{there[0]} has appeared meanwhile; replace it with --overwrite")
            with writing(self.output):
                if len(products) > 1 or stale:
                    self.output.unlink(missing_ok=True)  # It is never there beside files of another run.
                for path in stale:
                    path.unlink(missing_ok=True)
                for path, (name, _) in zip(made, products, strict=True):
                    path.replace(name)
        finally:
            for path in made:
                path.unlink(missing_ok=True)
        self.done = 0  # Nothing to go on from is left.
        self.partial.unlink(missing_ok=True)
        inputs.discard()

    # --- What depends on the kind of answers ---

    def keys(self, block: Block) -> list[str]:
        """What the answers of a block are known by: its texts."""
        return block.texts

    def _packed(self, answer: Any) -> bytes:
        made = np.asarray(answer, "<f4")
        self.width = self.width or len(made)
        if len(made) != self.width:
            raise BadFile(f"a vector has {len(made)} dimensions, the ones before it {self.width}")
        return made.tobytes()

    def _unpacked(self, packed: list[bytes]) -> Any:
        return np.frombuffer(b"".join(packed), "<f4").reshape(-1, self.width)

    def _write(self, digest: bytes, packed: bytes) -> None:
        self._file.write(digest + packed)

    def _place(self, at: int) -> int:
        """Where a record begins."""
        return self._begin + at * (_DIGEST + 4 * self.width)

    def _read(self, at: int, count: int) -> list[tuple[bytes, bytes]]:
        """Digests and packed answers from the one at ``at``: at most ``count`` of them."""
        size = _DIGEST + 4 * self.width
        self._file.seek(self._place(at))
        data = self._file.read(min(count, self.done - at) * size)
        return [
            (data[place : place + _DIGEST], data[place + _DIGEST : place + size]) for place in range(0, len(data), size)
        ]

    def _count(self, notes: dict[str, Any]) -> int:
        """Whole records that an earlier run has left."""
        self.width = int(notes["width"])
        if self.width < 1:
            raise ValueError("no width")
        return (self._file.seek(0, os.SEEK_END) - self._begin) // (_DIGEST + 4 * self.width)

    # --- What does not ---

    def _load(self) -> None:
        """Take up what an earlier run has left."""
        line = self._file.readline()
        if not line.endswith(b"\n") and line[: len(_HEAD)] == _HEAD[: len(line)]:
            return  # Nothing, or cut before the first vector.
        try:
            notes = json.loads(line)
            made_from, self.version = notes["made_from"], notes["version"]
            self._begin = len(line)
            done = self._count(notes)
        except (ValueError, KeyError, TypeError) as error:
            raise BadFile(f"{self.partial} is damaged: begin anew with --restart") from error
        if made_from != self.made_from:
            other = ", ".join(key for key, value in self.made_from.items() if made_from.get(key) != value)
            raise BadFile(f"{self.partial} is of an earlier run with another {other}: begin anew with --restart")
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
    """Errors of the system while a file is written, by its name."""
    try:
        yield
    except OSError as error:
        raise BadFile(f"{error.filename or path}: {error.strerror or error}") from error


def _locked(path: Path) -> IO[bytes]:
    """The file, made if it is not there, which no other process has locked. The lock ends with the process."""
    while True:
        file = open(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b")  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run that had it before may have removed it since it was opened here.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except BlockingIOError:
            file.close()
            raise BadFile(f"{path} is in use: another run writes the same output") from None
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP):
                return file  # A file system without locks.
            raise
        file.close()
