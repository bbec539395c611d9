"""The ops and kernels of each TensorFlow Serving release, as data from released wheels.

One file per release, data/<release>.tsv.xz: a line with its source wheels, then a line per op.
scripts/make_ops.py makes them, and names its sources.
"""

import functools
import json
import lzma
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DATA = Path(__file__).with_name("data")
_SUFFIX = ".tsv.xz"


@dataclass(frozen=True)
class Op:
    """A registered op.

    Attributes:
        attrs: attribute name -> its default as protobuf text, ``None`` where it must be given.
        deprecated: GraphDef version from which on it is refused, ``None`` for never.
        kernels: ``cpu`` or ``gpu`` -> the combinations of dtypes that it has kernels for: attribute name -> numbers of
            DataType. Empty where it is registered without a kernel, as ops are that TensorFlow replaces.
    """

    attrs: Mapping[str, str | None]
    deprecated: int | None
    kernels: Mapping[str, Sequence[Mapping[str, Sequence[int]]]]


@dataclass(frozen=True)
class OpSet:
    """The ops of one release by name, and the GraphDef versions that it takes."""

    graph_def_version: int
    min_producer: int
    ops: Mapping[str, Op]


def order(release: str) -> tuple[int, int, int]:
    """Sorts releases. A candidate, such as 2.22rc0, comes before its release.

    Args:
        release: ``2.21``, ``2.21.0``, ``2.22rc0`` or ``2.22.0-rc0``: of the release 2.21, and of the candidate 2.22rc0.

    Raises:
        ValueError: it is not spelled so.
    """
    match = re.fullmatch(r"(?a)(\d{1,3})\.(\d{1,3})(?:\.\d{1,3})?(?:-?rc(\d{1,3}))?", release)
    if match is None:
        raise ValueError(f"{release!r} is not a TensorFlow Serving release; give one such as 2.20")
    major, minor, candidate = match.groups()
    return int(major), int(minor), 1000 if candidate is None else int(candidate)


#: TensorFlow Serving releases, oldest first.
RELEASES = tuple(sorted((page.name.removesuffix(_SUFFIX) for page in _DATA.glob(f"*{_SUFFIX}")), key=order))
#: The newest that is no candidate.
NEWEST = [release for release in RELEASES if "rc" not in release][-1]


def nearest(release: str) -> str:
    """The newest of :data:`RELEASES` that is not newer than a release: the release itself, if known.

    Raises:
        ValueError: it is older than all of them, or not spelled as releases are.
    """
    known = [each for each in RELEASES if order(each) <= order(release)]
    if not known:
        raise ValueError(f"TensorFlow Serving {release} is too old: use {RELEASES[0]} or later")
    return known[-1]


def is_known(release: str) -> bool:
    """Whether a release is one of :data:`RELEASES`, however it is spelled."""
    return order(release) in map(order, RELEASES)


@functools.cache
def load(release: str) -> OpSet:
    """The op set of a release.

    Raises:
        KeyError: it is none of :data:`RELEASES`.
    """
    if release not in RELEASES:
        raise KeyError(release)
    head, *lines = lzma.decompress((_DATA / f"{release}{_SUFFIX}").read_bytes()).decode().splitlines()
    versions = json.loads(head)
    table = {name: json.loads(op) for name, _, op in (line.partition("\t") for line in lines)}
    return OpSet(versions["graph_def_version"], versions["min_producer"], {name: _op(op) for name, op in table.items()})


def _op(state: Mapping[str, Any]) -> Op:
    attrs = {name: default for name, (_, default) in state["attrs"].items()}
    return Op(attrs, state.get("deprecated"), {device: state[device] for device in ("cpu", "gpu") if device in state})
