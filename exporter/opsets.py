"""What each TensorFlow Serving release can run: its registered ops, as data read off released wheels.

The table (data/ops.json.gz) and what it was made from are described in data/make_ops.py.
"""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["NEWEST", "RELEASES", "Op", "OpSet", "covers", "load", "releases_with"]

#: TensorFlow Serving releases, oldest first.
RELEASES = ("2.12", "2.13", "2.14", "2.15", "2.16", "2.17", "2.18", "2.19", "2.20")
NEWEST = RELEASES[-1]


@dataclass(frozen=True)
class Op:
    """A registered op.

    Attributes:
        attrs: attribute name -> its default as protobuf text, ``None`` where it must be given.
        deprecated: GraphDef version from which on it is refused, ``None`` for never.
    """

    attrs: Mapping[str, str | None]
    deprecated: int | None


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
    table = _table()
    versions = table["releases"][release]
    ops = {}
    for name, spans in table["ops"].items():
        for span in spans:
            if covers(span, release):
                attrs = {attr: default for attr, (_, default) in span["attrs"].items()}
                ops[name] = Op(attrs, span.get("deprecated"))
    return OpSet(release, versions["graph_def_version"], versions["min_producer"], ops)


def releases_with(op: str, attr: str | None = None) -> tuple[str, ...]:
    """Releases that know an op, or that op with an attribute."""
    spans = [span for span in _table()["ops"].get(op, ()) if attr is None or attr in span["attrs"]]
    return tuple(release for release in RELEASES if any(covers(span, release) for span in spans))


def covers(span: Mapping[str, Any], release: str) -> bool:
    """Whether a span of the table holds for a release."""
    at = RELEASES.index(release)
    return RELEASES.index(span["since"]) <= at <= RELEASES.index(span.get("until", NEWEST))


@functools.cache
def _table() -> Any:
    return json.loads(gzip.decompress(Path(__file__).with_name("data").joinpath("ops.json.gz").read_bytes()))
