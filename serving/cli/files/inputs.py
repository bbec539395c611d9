"""The files that ``--input`` names, in order, and whether they are still what they were."""

import glob
import os
import shutil
import stat
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import BadFile

#: Endings of names, and their formats; ``.gz`` may follow them, except for Parquet.
FORMS = {
    ".txt": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"
}  # fmt: skip
#: The name of standard input.
STANDARD = "-"


@dataclass(frozen=True)
class File:
    """A file to read, ``None`` for standard input; its name in messages; and its state when it was found."""

    path: Path | None
    name: str
    state: tuple[int, ...] = ()


class Inputs:
    """Files of one format.

    Args:
        names: files, folders, globs, and ``-`` for standard input. The files of a folder, with those of the folders
            in it, and of a glob are sorted by name; names that begin with a dot or an underscore are left out.
        form: the format; by the names if left out, and text for standard input.
        spool: where to copy what can be read only once, such as a pipe.
        stream: read it as it comes instead, which Parquet does not allow.

    Attributes:
        lasting: whether everything can be read more than once.

    Raises:
        BadFile: there is no such file, or they are not of one known format.
    """

    def __init__(self, names: Sequence[str], form: str | None, spool: Path, stream: bool = False) -> None:
        self._names = names
        self._paths = _expanded(names)
        self.form = form or _form(self._paths)
        self._stream = stream and self.form != "parquet"
        self.lasting = True
        self._spooled: list[Path] = []
        try:
            self.files = [self._file(path, spool) for path in self._paths]
        except BaseException:
            self.discard()
            raise

    def check(self) -> None:
        """See that all files are as they were.

        Raises:
            BadFile: one was replaced or written to, or there are others.
        """
        for file in self.files:
            if file.state and file.state != _state(file.path):
                raise BadFile(f"{file.name} changed while it was read: give the same command again")
        if _expanded(self._names) != self._paths:
            raise BadFile(f"{', '.join(self._names)}: other files than before: give the same command again")

    def contain(self, path: Path) -> bool:
        """Whether a file is one of them, or lies in a folder that was named."""
        real = os.path.realpath(path)
        folders = [os.path.realpath(name) for name in self._names if os.path.isdir(name)]
        return real in map(os.path.realpath, self._paths) or any(
            os.path.commonpath([real, folder]) == folder for folder in folders
        )

    def discard(self) -> None:
        """Remove the copies."""
        for path in self._spooled:
            path.unlink(missing_ok=True)

    def _file(self, path: Path, spool: Path) -> File:
        standard = str(path) == STANDARD
        name = "standard input" if standard else str(path)
        try:
            # Files of /proc, among them /dev/stdin and <(...), have a size of 0 or an offset of their own.
            if not standard and stat.S_ISREG(path.stat().st_mode) and not path.resolve().is_relative_to("/proc"):
                return File(path, name, _state(path))
            if self._stream:
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
    """What tells a file from another one at the same place, and from itself once it is written to."""
    assert path is not None
    try:
        found = path.stat()
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _expanded(names: Sequence[str]) -> list[Path]:
    paths: list[Path] = []
    for name in names:
        path, found, fault = Path(name), [Path(name)], "does not exist"
        if not name:
            found, fault = [], "a file without a name does not exist"
        elif path.is_dir():
            found = sorted(each for each in path.rglob("*") if _shown(each.relative_to(path)) and each.is_file())
            fault = "is a folder without files"
        elif name != STANDARD and not os.path.lexists(path):
            found = sorted(Path(each) for each in glob.glob(name, recursive=True) if not os.path.isdir(each))
        if not found:
            raise BadFile(f"{name} {fault}".lstrip())
        paths += found
    twice = {str(path) for path in paths if paths.count(path) > 1}
    if twice:
        raise BadFile(f"{min(twice)} is given twice")
    return paths


def _shown(path: Path) -> bool:
    return not any(part.startswith((".", "_")) for part in path.parts)


def _form(paths: Sequence[Path]) -> str:
    """The one format of all of them."""
    forms = {}
    for path in paths:
        ending = Path(path.name.lower().removesuffix(".gz")).suffix
        form = "text" if str(path) == STANDARD else FORMS.get(ending)
        if form is None:
            raise BadFile(f"{path.name}: the name must end in {', '.join(FORMS)}, or give --input-format")
        forms[form] = path
    if len(forms) > 1:
        raise BadFile(f"{' and '.join(map(str, forms.values()))} are of several formats: give --input-format")
    return next(iter(forms), "text")
