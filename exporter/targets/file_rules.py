"""What a server would make of the files beside a graph: assets, variables, warmup records, batching parameters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf import text_format

from ...serving.contract import BATCHING_FILE, MOST_WARMUP_RECORDS, WARMUP_FILE
from ...serving.wire.protos import BatchingParameters
from . import tensor_bundle
from .finding import Finding
from .graph_rules import callable_signatures
from .saved_model import Graph
from .warmup_file import CorruptRecords, signatures_of

#: Bytes of a text proto that is read: a hundred times what anyone writes.
_MOST_TEXT = 100_000


def assets(folder: Path, meta_graph: Any) -> Iterator[Finding]:
    """Files that the graph names."""
    for asset in meta_graph.asset_file_def:
        name = PurePosixPath(asset.filename)
        if name.is_absolute() or ".." in name.parts or "\0" in asset.filename:
            yield Finding("error", "asset", f"the asset {asset.filename!r} points outside the folder")
            continue
        path = folder / "assets" / name
        try:
            if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                yield Finding("error", "asset", f"the asset assets/{name} is a link to a file outside the folder")
            elif not path.is_file():
                yield Finding("error", "asset", f"the asset assets/{name} is missing")
        except OSError as error:
            yield Finding("error", "asset", f"the asset {asset.filename!r} cannot be read: {error.strerror or error}")


def variables(folder: Path, graph: Graph) -> Iterator[Finding]:
    """The index and the shards of the weights."""
    index = folder / "variables" / "variables.index"
    if not index.is_file():
        if any(node.op in ("VarHandleOp", "VariableV2") for node in graph.nodes):
            yield Finding("error", "variables", "variables/variables.index is missing, and the graph has variables")
        return
    try:
        shards, entries = tensor_bundle.read_index(index)
        ends: dict[int, int] = {}
        for _, entry in entries:
            ends[entry.shard_id] = max(ends.get(entry.shard_id, 0), entry.offset + entry.size)
        for shard, end in sorted(ends.items()):
            path = index.with_name(tensor_bundle.shard_name(shard, shards))
            if not path.is_file():
                yield Finding("error", "variables", f"variables/{path.name} is missing")
            elif path.stat().st_size < end:
                yield Finding(
                    "error", "variables",
                    f"variables/{path.name} is cut short: it has {path.stat().st_size} bytes, and {end} are needed",
                )  # fmt: skip
    except tensor_bundle.CorruptIndex as error:
        yield Finding("error", "variables", f"variables/variables.index: {error}")
    except OSError as error:
        yield Finding("error", "variables", f"variables/: cannot be read: {error.strerror or error}")


def warmup_records(folder: Path, meta_graph: Any) -> Iterator[Finding]:
    """Records for every signature, and no others."""
    names = [name for name, _ in callable_signatures(meta_graph)]
    path = folder / WARMUP_FILE
    why = "a fault that shows only when it runs would not keep this version from replacing a good one"
    if not path.is_file():
        if names:
            yield Finding("note", "warmup", f"no warmup records ({WARMUP_FILE}): the first calls are slow, and {why}")
        return
    try:
        counts = signatures_of(path)
    except (CorruptRecords, OSError) as error:
        yield Finding("error", "warmup", f"{WARMUP_FILE}: {error}; the version would not load")
        return
    if sum(counts.values()) > MOST_WARMUP_RECORDS:
        yield Finding(
            "error", "warmup",
            f"{WARMUP_FILE} has {sum(counts.values())} records, and with more than {MOST_WARMUP_RECORDS} the version "
            "would not load",
        )  # fmt: skip
    for name in sorted(set(counts) - set(names)):
        yield Finding(
            "error", "warmup", f"{WARMUP_FILE} calls the signature {name!r}, which there is not: it won't load"
        )
    for name in names:
        if name not in counts:
            yield Finding("warning", "warmup", f"the signature {name} has no warmup record: {why}")


def batching(folder: Path, meta_graph: Any) -> Iterator[Finding]:
    """Parameters that the server refuses, or that break calls of this graph."""
    path = folder / BATCHING_FILE
    if not path.is_file():
        yield Finding(
            "note", "batching",
            f"no {BATCHING_FILE}: with --enable_per_model_batching_parameters its calls are not batched",
        )  # fmt: skip
        return
    try:
        message = _batching_params(path)
    except (OSError, ValueError) as error:
        yield Finding("error", "batching", f"{BATCHING_FILE}: {error}; the version would not load")
        return
    if not message.enable_large_batch_splitting.value:
        return
    for name, signature in callable_signatures(meta_graph):
        for output, info in sorted(signature.outputs.items()):
            inner = [dim.size for dim in info.tensor_shape.dim][1:]
            if info.tensor_shape.unknown_rank or any(size < 0 for size in inner):
                yield Finding(
                    "error", "splitting",
                    f"{name}.{output} has an inner dimension that depends on the data, and {BATCHING_FILE} sets "
                    "enable_large_batch_splitting: the parts of a large call differ in shape, which ends the server "
                    "or mixes up rows; take that setting out",
                )  # fmt: skip


def _batching_params(path: Path) -> Any:
    """The ``BatchingParameters`` message of a file."""
    with path.open("rb") as file:
        data = file.read(_MOST_TEXT + 1)
    if len(data) > _MOST_TEXT:
        raise ValueError(f"it has more than {_MOST_TEXT} bytes")
    try:
        return text_format.Parse(data, BatchingParameters())
    except Exception as error:  # of garbage protobuf raises more than its own ParseError
        raise ValueError(f"it is no BatchingParameters text proto: {error}") from error
