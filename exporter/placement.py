"""What of a signature would run on the CPU between operations on the GPU: each such node costs two copies and a wait.

Tokenization runs on the CPU, before the first operation on the GPU; everything that leads to strings counts as it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from . import kernels, opsets
from .graph import Node, flatten
from .kernels import Placement

__all__ = ["between"]

#: What they give is wherever it came from, or wherever it is needed.
_PASSING = frozenset({"Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot", "NoOp"})
_SOURCES = frozenset({"Const", "Placeholder", "PlaceholderWithDefault", "VarHandleOp", "ReadVariableOp"})

_STRING = 7
_DTYPES = {"DT_FLOAT": 1, "DT_DOUBLE": 2, "DT_INT32": 3, "DT_STRING": 7, "DT_INT64": 9, "DT_BOOL": 10}


def between(meta_graph: Any, signature: Any, release: str) -> list[Node]:
    """Nodes that run on the CPU on what a node on the GPU made, and that a later node on the GPU waits for.

    Args:
        meta_graph: a ``MetaGraphDef`` message.
        signature: one of its ``SignatureDef`` messages.
        release: TensorFlow Serving release.

    Raises:
        TooLarge: the graph cannot be laid open.
    """
    nodes = flatten(meta_graph, signature)
    places = [_place(node, release) for node in nodes]
    # From the end: which nodes lead to the GPU, which to strings.
    leads_to_device, leads_to_strings = [False] * len(nodes), [False] * len(nodes)
    for at in reversed(range(len(nodes))):
        leads_to_strings[at] |= any(dtype == _STRING for _, dtype in nodes[at].types)
        for source in nodes[at].inputs:
            leads_to_device[source] |= leads_to_device[at] or places[at] is Placement.DEVICE
            leads_to_strings[source] |= leads_to_strings[at]
    # From the beginning: which values lie in the GPU's memory.
    on_device: list[bool] = []
    found = []
    for at, node in enumerate(nodes):
        reads_device = any(on_device[source] for source in node.inputs)
        on_device.append(places[at] is Placement.DEVICE or (places[at] is None and reads_device))
        on_cpu = places[at] in (Placement.NONE, Placement.HOST)
        if on_cpu and reads_device and leads_to_device[at] and not leads_to_strings[at]:
            found.append(node)
    return found


def _place(node: Node, release: str) -> Placement | None:
    """Where a node runs; ``None`` for one that only passes on or holds."""
    if node.op in _PASSING or node.op in _SOURCES:
        return None
    if "CPU:" in node.device:
        return Placement.NONE
    return _placement(node.op, node.types, release)


@functools.cache
def _placement(op: str, types: tuple[tuple[str, int], ...], release: str) -> Placement:
    return kernels.placement(op, {**_defaults(op, release), **dict(types)}, release)


@functools.cache
def _defaults(op: str, release: str) -> Mapping[str, int]:
    """Dtypes that an op's attributes have where the graph leaves them out."""
    known = opsets.load(release).ops.get(op)
    texts = {name: text.removeprefix("type: ") for name, text in known.attrs.items() if text} if known else {}
    return {name: _DTYPES[text] for name, text in texts.items() if text in _DTYPES}
