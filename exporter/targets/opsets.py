"""What each TensorFlow Serving release can run: its registered ops, as data read from released wheels.

The table is data/ops.tsv.gz: a line with the releases, then for each op what releases say of it, in spans of releases
that say the same. scripts/make_ops.py makes it, and names its sources.
"""

import functools
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """The ops of one release by name, and the GraphDef versions that it takes."""

    graph_def_version: int
    min_producer: int
    ops: Mapping[str, Op]


@functools.cache
def load(release: str) -> OpSet:
    """The op set of a release.

    Raises:
        KeyError: it is none of :data:`RELEASES`.
    """
    releases, table = _table()
    versions = releases[release]
    ops = {
        name: Op({attr: default for attr, (_, default) in span["attrs"].items()}, span.get("deprecated"))
        for name, spans in table.items()
        for span in spans
        if _covers(span, release)
    }
    return OpSet(versions["graph_def_version"], versions["min_producer"], ops)


def releases_with(op: str, attr: str = "") -> tuple[str, ...]:
    """Releases that know an op, or that op with an attribute."""
    spans = [span for span in _table()[1].get(op, ()) if not attr or attr in span["attrs"]]
    return tuple(release for release in RELEASES if any(_covers(span, release) for span in spans))


def _covers(span: Mapping[str, Any], release: str) -> bool:
    at = RELEASES.index(release)
    return RELEASES.index(span["since"]) <= at <= RELEASES.index(span.get("until", NEWEST))


@functools.cache
def _table() -> tuple[Mapping[str, Any], Mapping[str, list[Any]]]:
    """What holds for each release as a whole, and the spans of each op, oldest first."""
    data = Path(__file__).with_name("data").joinpath("ops.tsv.gz").read_bytes()
    head, *lines = gzip.decompress(data).decode().splitlines()
    return json.loads(head), {op: json.loads(spans) for op, _, spans in (line.partition("\t") for line in lines)}
