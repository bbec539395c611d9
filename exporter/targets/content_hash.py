"""A hash of a SavedModel's content: equal for equal graph, weights and assets, independent of time and place.

Names with numbers that change with each export, debug information, object bookkeeping, timestamps and paths are left
out. The hash of the weights covers the bytes of each variable, but not their places in the shards.
"""

import hashlib
from pathlib import Path
from typing import Any

from ..hashing import file_sha256
from . import tensor_bundle
from .graph_hash import graph_hash
from .saved_model import Graph

#: Prefix of the hashes of graphs and contents. Hashes of different schemes cannot be compared. The first scheme had no
#: prefix: it covered ops and constants, but not their connections. The second one covered the TensorFlow release that
#: wrote a graph.
_SCHEME = "v3:"
_CHUNK = 1 << 20
#: An entry of variables.index with TensorFlow's bookkeeping, not a variable.
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def content_hash(folder: Path, meta_graph: Any) -> dict[str, str]:
    """sha256 (hex) of ``graph``, ``weights``, ``assets``, and of these three together as ``content``.

    Raises:
        Unhashable: functions or nodes of the graph form a cycle.
        CorruptIndex: variables.index or a shard is damaged.
        OSError: a file is missing or cannot be read.
    """
    parts = {
        "graph": _SCHEME + graph_hash(Graph(meta_graph)),
        "weights": _digest(_weights(folder)),
        "assets": _digest(_assets(folder)),
    }
    return {**parts, "content": _SCHEME + _digest(sorted(parts.items()))}


def scheme_of(value: str) -> str:
    """The scheme of a hash: only hashes of one scheme can be compared."""
    return value.rpartition(":")[0]


def _weights(folder: Path) -> list[tuple[str, str]]:
    index = folder / "variables" / "variables.index"
    if not index.is_file():
        return []
    shards, entries = tensor_bundle.read_index(index)
    digests = []
    for name, entry in entries:
        if name == _OBJECT_GRAPH:
            continue
        shape = tuple(dim.size for dim in entry.shape.dim)
        digest = hashlib.sha256(repr((entry.dtype, shape)).encode())
        shard = index.with_name(tensor_bundle.shard_name(entry.shard_id, shards))
        with shard.open("rb") as stream:
            stream.seek(entry.offset)
            left = entry.size
            while left:
                data = stream.read(min(left, _CHUNK))
                if not data:
                    raise tensor_bundle.CorruptIndex(f"{shard.name} is cut short: {name!r} is beyond its end")
                digest.update(data)
                left -= len(data)
        digests.append((name, digest.hexdigest()))
    return sorted(digests)


def _assets(folder: Path) -> list[tuple[str, str]]:
    root = folder / "assets"
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [(path.relative_to(root).as_posix(), file_sha256(path)) for path in files]


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
