"""What each TensorFlow Serving release can run: its registered ops, as data read off released wheels.

scripts/make_ops.py makes the table (data/ops.tsv.gz) and says what from. A graph uses a hundred of its two thousand
ops, so an op's line is read when it is asked for.
"""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["NEWEST", "RELEASES", "Op", "OpSet", "Table", "load", "releases_with"]

#: TensorFlow Serving releases, oldest first.
RELEASES = ("2.12", "2.13", "2.14", "2.15", "2.16", "2.17", "2.18", "2.19", "2.20")
NEWEST = RELEASES[-1]


class Table:
    """A file of data/: what releases say of ops, in spans of releases that say the same.

    Attributes:
        releases: release -> what holds for it as a whole.
    """

    def __init__(self, file: str) -> None:
        text = gzip.decompress(Path(__file__).with_name("data").joinpath(file).read_bytes()).decode()
        head, *lines = text.splitlines()
        self.releases: Mapping[str, Any] = json.loads(head)
        self._spans = {op: spans for op, _, spans in (line.partition("\t") for line in lines)}
        self._read: dict[str, list[Any]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The ops of any release."""
        return tuple(self._spans)

    def spans(self, op: str) -> list[Any]:
        """What the releases say of an op, oldest first; empty where none knows it."""
        if op not in self._read:
            self._read[op] = json.loads(self._spans.get(op, "[]"))
        return self._read[op]

    def of(self, op: str, release: str) -> Any | None:
        """What a release says of an op, ``None`` where it does not know it."""
        return next((span for span in self.spans(op) if _covers(span, release)), None)


@dataclass(frozen=True)
class Op:
    """A registered op.

    Attributes:
        attrs: attribute name -> its default as protobuf text, ``None`` where it must be given.
        deprecated: GraphDef version from which on it is refused, ``None`` for never.
    """

    attrs: Mapping[str, str | None]
    deprecated: int | None


class _Ops(Mapping[str, Op]):
    """The ops of a release by name."""

    def __init__(self, release: str) -> None:
        self._release = release
        self._read: dict[str, Op | None] = {}

    def __getitem__(self, name: str) -> Op:
        if name not in self._read:
            span = _table().of(name, self._release)
            self._read[name] = span and Op(
                {attr: default for attr, (_, default) in span["attrs"].items()},
                span.get("deprecated"),
            )
        op = self._read[name]
        if op is None:
            raise KeyError(name)
        return op

    def __iter__(self) -> Iterator[str]:
        return (name for name in _table().names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class OpSet:
    """The ops of one release, and the GraphDef versions that it takes."""

    release: str
    graph_def_version: int
    min_producer: int
    ops: Mapping[str, Op]


@functools.cache
def load(release: str) -> OpSet:
    """The op set of a release.

    Raises:
        KeyError: it is none of :data:`RELEASES`.
    """
    versions = _table().releases[release]
    return OpSet(release, versions["graph_def_version"], versions["min_producer"], _Ops(release))


def releases_with(op: str, attr: str | None = None) -> tuple[str, ...]:
    """Releases that know an op, or that op with an attribute."""
    spans = [span for span in _table().spans(op) if attr is None or attr in span["attrs"]]
    return tuple(release for release in RELEASES if any(_covers(span, release) for span in spans))


def _covers(span: Mapping[str, Any], release: str) -> bool:
    at = RELEASES.index(release)
    return RELEASES.index(span["since"]) <= at <= RELEASES.index(span.get("until", NEWEST))


@functools.cache
def _table() -> Table:
    return Table("ops.tsv.gz")
