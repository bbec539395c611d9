"""Where TensorFlow runs an op on a machine with a GPU, as data read off released wheels (see data/make_ops.py).

A "GPU kernel" is not always one: many, those for int32 above all, keep their arguments in host memory
(``host_memory_arg``) and run on the CPU like any other.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from typing import Any

from . import opsets

__all__ = ["Placement", "placement"]


class Placement(enum.Enum):
    """Where a node runs where there is a GPU."""

    DEVICE = "on the GPU"
    #: Registered for the GPU, but every argument lives in host memory: the CPU does it.
    HOST = "in host memory"
    #: Takes what is on the GPU and answers in host memory without reading it, as Shape does.
    METADATA = "of a tensor's shape alone"
    NONE = "on the CPU"


def placement(op: str, types: Mapping[str, int], release: str) -> Placement:
    """Where an op runs for the given dtypes.

    Args:
        op: its name.
        types: its attributes of type ``type``, as DataType numbers. What is not given counts as fitting.
        release: TensorFlow Serving release.
    """
    span = _table().of(op, release) or {"kernels": {}}
    for text, host in span["kernels"].items():
        if all(types.get(name) is None or types[name] in allowed for name, allowed in _constraints(text)):
            return _placement(span, host)
    return Placement.NONE


@functools.cache
def _table() -> opsets.Table:
    return opsets.Table("kernels.tsv.gz")


@functools.cache
def _constraints(text: str) -> list[tuple[str, frozenset[int]]]:
    pairs = (each.split("=") for each in text.split())
    return [(name, frozenset(map(int, values.split(",")))) for name, values in pairs if values]


def _placement(span: Mapping[str, Any], host: str) -> Placement:
    kept, inputs, outputs = set(host.split()), set(span["inputs"].split()), set(span["outputs"].split())
    if inputs | outputs and kept >= inputs | outputs:
        return Placement.HOST
    if outputs and kept >= outputs:
        return Placement.METADATA
    return Placement.DEVICE
