"""A hash of what a SavedModel is: the same for the same graph, weights and assets, whenever and wherever made.

What differs from one writing to the next is left out: the names that TensorFlow numbers anew, debug information, object
bookkeeping, timestamps, paths. Weights count by the bytes of each variable, not by how shards and names lie.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from . import tensor_bundle

__all__ = ["content_hash"]

_INIT_OP = "__saved_model_init_op"
_CHUNK = 1 << 20
#: Entries that are TensorFlow's bookkeeping.
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def content_hash(folder: Path, meta_graph: Any) -> dict[str, str]:
    """sha256 (hex) of ``signatures``, ``weights``, ``assets``, and of these three together as ``content``.

    Raises:
        CorruptIndex: variables.index is damaged.
        OSError: a file is missing or cannot be read.
    """
    parts = {
        "signatures": _digest(_signatures(meta_graph)),
        "weights": _weights(folder),
        "assets": _digest(_assets(folder)),
    }
    return {**parts, "content": _digest(sorted(parts.items()))}


def _signatures(meta_graph: Any) -> list[Any]:
    described = []
    for name, signature in sorted(meta_graph.signature_def.items()):
        if name != _INIT_OP:
            sides = [
                [
                    (key, info.dtype, tuple(dim.size for dim in info.tensor_shape.dim))
                    for key, info in sorted(each.items())
                ]
                for each in (signature.inputs, signature.outputs)
            ]
            described.append((name, sides))
    # Ops and constants of the graph, counted: names are numbered anew at each writing, the work is not.
    counts: Counter[tuple[str, str]] = Counter()
    graph = meta_graph.graph_def
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            value = node.attr["value"].SerializeToString(deterministic=True) if node.op == "Const" else b""
            counts[node.op, hashlib.sha256(value).hexdigest() if value else ""] += 1
    return [described, sorted(counts.items())]


def _weights(folder: Path) -> str:
    index = folder / "variables" / "variables.index"
    digests = []
    if index.exists():
        shards, entries = tensor_bundle.read_index(index)
        for name, entry in entries:
            if name == _OBJECT_GRAPH:
                continue
            shape = tuple(dim.size for dim in entry.shape.dim)
            digest = hashlib.sha256(repr((entry.dtype, shape)).encode())
            with index.with_name(tensor_bundle.shard_name(entry.shard_id, shards)).open("rb") as stream:
                stream.seek(entry.offset)
                left = entry.size
                while left and (data := stream.read(min(left, _CHUNK))):
                    digest.update(data)
                    left -= len(data)
            digests.append((name, digest.hexdigest()))
    return _digest(sorted(digests))


def _assets(folder: Path) -> list[tuple[str, str]]:
    root = folder / "assets"
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [(path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
