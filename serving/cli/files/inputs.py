"""The files of ``--input`` in order, with a check that they are unchanged."""

import glob
import os
import re
import shutil
import stat
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from . import BadFile

#: File name endings and their formats; ``.gz`` may follow, except for Parquet.
FORMS = {
    ".txt": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"
}  # fmt: skip
#: The name of standard input.
STANDARD = "-"
#: Hive's and Spark's folder name for a partition whose value is null.
_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class File:
    """A file to read (``None`` for standard input), its name in messages, and its state when it was found.

    ``partition`` contains the values in its folders' names, such as ``lang=de``.
    """

    path: Path | None
    name: str
    state: tuple[int, ...] = ()
    partition: Mapping[str, str | int | None] = field(default_factory=dict)


class Inputs:
    """Files of one format; they are located at once, and read after :meth:`open`.

    Args:
        names: files, folders, globs, and ``-`` for standard input. The files of a folder (including its subfolders)
            and of a glob are sorted by name; names that begin with a dot or an underscore are left out. A glob
            that matches only folders means the files in them.
        form: the format; by default from the names, and text for standard input.

    Attributes:
        lasting: whether all files can be read more than once.

    Raises:
        BadFile: a file does not exist, or the files have several formats or an unknown one.
    """

    def __init__(self, names: Sequence[str], form: str | None = None) -> None:
        self._names = names
        self._paths, self._partitions = _expanded(names)
        self.form = form or _form(self._paths)
        self.lasting = True
        self.files: list[File] = []
        self._spooled: list[Path] = []

    def open(self, spool: Path, stream: bool = False) -> Self:
        """Prepare for reading.

        Args:
            spool: path for a copy of inputs that can be read only once, such as a pipe.
            stream: read such inputs directly instead; not possible for Parquet.

        Raises:
            BadFile: a file cannot be opened.
        """
        try:
            for path, partition in zip(self._paths, self._partitions, strict=True):
                self.files.append(self._file(path, partition, spool, stream and self.form != "parquet"))
        except BaseException:
            self.discard()
            raise
        return self

    def check(self) -> None:
        """Check that all files are unchanged.

        Raises:
            BadFile: a file was replaced or written to, or the set of files has changed.
        """
        for file in self.files:
            if file.state and file.state != _state(file.path):
                raise BadFile(f"{file.name} changed while it was read: give the same command again")
        if _expanded(self._names)[0] != self._paths:
            raise BadFile(f"{', '.join(self._names)}: the set of files has changed: give the same command again")

    def contain(self, path: Path) -> bool:
        """Whether a file is one of the inputs, or is in one of their folders."""
        real = os.path.realpath(path)
        folders = [os.path.realpath(name) for name in self._names if os.path.isdir(name)]
        return real in map(os.path.realpath, self._paths) or any(
            os.path.commonpath([real, folder]) == folder for folder in folders
        )

    def discard(self) -> None:
        """Remove the copies."""
        for path in self._spooled:
            path.unlink(missing_ok=True)

    def _file(self, path: Path, partition: Mapping[str, str | int | None], spool: Path, stream: bool) -> File:
        standard = str(path) == STANDARD
        name = "standard input" if standard else str(path)
        try:
            # Files in /proc, such as /dev/stdin and <(...), have a size of 0, or an offset that other processes share.
            if not standard and stat.S_ISREG(path.stat().st_mode) and not path.resolve().is_relative_to("/proc"):
                return File(path, name, _state(path), partition)
            if stream:
                self.lasting = False
                return File(None if standard else path, name)
            made = spool.with_name(f"{spool.name}{len(self._spooled) or ''}")
            self._spooled.append(made)
            with ExitStack() as stack:
                source: Any = sys.stdin.buffer if standard else stack.enter_context(path.open("rb"))
                shutil.copyfileobj(source, stack.enter_context(made.open("wb")))
            return File(made, name, _state(made))
        except OSError as error:
            raise BadFile(f"{error.filename or name}: {error.strerror or error}") from error


def _state(path: Path | None) -> tuple[int, ...]:
    """The identity of a file and of its contents: changes when it is replaced or written to."""
    assert path is not None
    try:
        found = path.stat()
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _expanded(names: Sequence[str]) -> tuple[list[Path], list[dict[str, str | int | None]]]:
    """Files with their partitions, from the folders below a given folder or after a glob's first wildcard."""
    paths: list[Path] = []
    partitions: list[dict[str, str | None]] = []
    for name in names:
        path, found, fault = Path(name), [Path(name)], "does not exist"
        if not name:
            found, fault = [], "a file without a name does not exist"
        elif path.is_dir():
            found, fault = _inside(path), "is a folder without files"
        elif name != STANDARD and not os.path.lexists(path):
            matched = sorted(map(Path, glob.glob(name, recursive=True)))
            found = [each for each in matched if not each.is_dir()]
            found = found or [file for folder in matched for file in _inside(folder)]
        if not found:
            raise BadFile(f"{name} {fault}".lstrip())
        paths += found
        known = next((at for at, part in enumerate(path.parts) if glob.has_magic(part)), len(path.parts))
        partitions += [_partition(each.parts[known:-1]) for each in found]
    times = Counter(map(os.path.abspath, paths))
    twice = sorted(str(path) for path in paths if times[os.path.abspath(path)] > 1)
    if twice:
        raise BadFile(f"{twice[0]} is given twice{f', as {twice[-1]} too' if twice[-1] != twice[0] else ''}")
    return paths, _typed(partitions)


def _partition(folders: Sequence[str]) -> dict[str, str | None]:
    pairs = [folder.partition("=") for folder in folders if "=" in folder[1:]]
    return {unquote(name): None if value == _NULL else unquote(value) for name, _, value in pairs}


def _typed(partitions: Sequence[Mapping[str, str | None]]) -> list[dict[str, str | int | None]]:
    """Values as whole numbers if all values of a name are canonical numbers; 007 stays a text."""
    every = [pair for each in partitions for pair in each.items()]
    words = {name for name, value in every if value is not None and not re.fullmatch("0|-?[1-9][0-9]{0,17}", value)}
    return [
        {name: value if value is None or name in words else int(value) for name, value in each.items()}
        for each in partitions
    ]


def _inside(folder: Path) -> list[Path]:
    """The files in a folder and its subfolders, without hidden ones."""
    return sorted(
        each
        for each in folder.rglob("*")
        if not any(part.startswith((".", "_")) for part in each.relative_to(folder).parts) and each.is_file()
    )


def _form(paths: Sequence[Path]) -> str:
    """The common format of all files."""
    forms = {}
    for path in paths:
        ending = Path(path.name.lower().removesuffix(".gz")).suffix
        form = "text" if str(path) == STANDARD else FORMS.get(ending)
        if form is None:
            raise BadFile(f"{path.name}: the name must end in {', '.join(FORMS)}, or give --input-format")
        forms[form] = path
    if len(forms) > 1:
        raise BadFile(f"{' and '.join(map(str, forms.values()))} have different formats: give --input-format")
    return next(iter(forms), "text")
