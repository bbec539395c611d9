"""The ops and kernels of each TensorFlow Serving release, as data from released wheels.

Each release has a file, data/<release>.tsv.xz: a line with its source wheels, then one line per op.
scripts/make_ops.py writes these files, and describes its sources.
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
        attrs: attribute name -> its default as protobuf text; ``None`` if it has no default.
        deprecated: first GraphDef version that refuses the op; ``None`` if none does.
        kernels: ``cpu`` or ``gpu`` -> the combinations of dtypes with a kernel: attribute name -> numbers of
            DataType. Empty if the op is registered without a kernel, such as ops that TensorFlow replaces.
    """

    attrs: Mapping[str, str | None]
    deprecated: int | None
    kernels: Mapping[str, Sequence[Mapping[str, Sequence[int]]]]


@dataclass(frozen=True)
class OpSet:
    """The ops of one release by name, and the GraphDef versions that it accepts."""

    graph_def_version: int
    min_producer: int
    ops: Mapping[str, Op]


def order(release: str) -> tuple[int, int, int]:
    """Sort key of releases. A release candidate, such as 2.22rc0, comes before its release.

    Args:
        release: a release, such as ``2.21`` or ``2.21.0``, or a release candidate, such as ``2.22rc0`` or
            ``2.22.0-rc0``.

    Raises:
        ValueError: it has another form.
    """
    match = re.fullmatch(r"(?a)(\d{1,3})\.(\d{1,3})(?:\.\d{1,3})?(?:-?rc(\d{1,3}))?", release)
    if match is None:
        raise ValueError(f"{release!r} is not a TensorFlow Serving release; give one such as 2.20")
    major, minor, candidate = match.groups()
    return int(major), int(minor), 1000 if candidate is None else int(candidate)


#: TensorFlow Serving releases, oldest first.
RELEASES = tuple(sorted((page.name.removesuffix(_SUFFIX) for page in _DATA.glob(f"*{_SUFFIX}")), key=order))
#: The newest release that is not a release candidate.
NEWEST = [release for release in RELEASES if "rc" not in release][-1]


def nearest(release: str) -> str:
    """The newest of :data:`RELEASES` that is not newer than a release: the release itself, if known.

    Raises:
        ValueError: it is older than all of them, or has another form.
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
        KeyError: it is not one of :data:`RELEASES`.
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
