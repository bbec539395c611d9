"""Checks of the files next to a graph: assets, variables, warmup records, batching parameters."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf import text_format

from ...serving.contract import BATCHING_FILE, MOST_WARMUP_RECORDS, WARMUP_FILE
from ...serving.wire.messages import signature_infos
from ...serving.wire.protos import BatchingParameters
from . import tensor_bundle
from .finding import Finding, error, note, warning
from .saved_model import Graph
from .warmup_file import signatures_of

#: Maximum size in bytes of a text proto: a hundred times that of a usual file.
_MOST_TEXT = 100_000


def assets(folder: Path, meta_graph: Any) -> Iterator[Finding]:
    """Missing or unsafe files that the graph names."""
    for asset in meta_graph.asset_file_def:
        name = PurePosixPath(asset.filename)
        if name.is_absolute() or ".." in name.parts or "\0" in asset.filename:
            yield error("asset", f"the asset {asset.filename!r} points outside the folder")
            continue
        path = folder / "assets" / name
        try:
            if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                yield error("asset", f"the asset assets/{name} is a link to a file outside the folder")
            elif not path.is_file():
                yield error("asset", f"the asset assets/{name} is missing")
        except OSError as fault:
            yield error("asset", f"the asset {asset.filename!r} cannot be read: {fault.strerror or fault}")


def variables(folder: Path, graph: Graph) -> Iterator[Finding]:
    """Faults of the index and the shards of the weights."""
    index = folder / "variables" / "variables.index"
    if not index.is_file():
        if any(node.op in ("VarHandleOp", "VariableV2") for node in graph.nodes):
            yield error("variables", "variables/variables.index is missing, and the graph has variables")
        return
    try:
        shards, entries = tensor_bundle.read_index(index)
        ends: dict[int, int] = {}
        for _, entry in entries:
            ends[entry.shard_id] = max(ends.get(entry.shard_id, 0), entry.offset + entry.size)
        for shard, end in sorted(ends.items()):
            path = index.with_name(tensor_bundle.shard_name(shard, shards))
            if not path.is_file():
                yield error("variables", f"variables/{path.name} is missing")
            elif (size := path.stat().st_size) < end:
                cut = f"variables/{path.name} is cut short: it has {size} bytes, and {end} are needed"
                yield error("variables", cut)
    except tensor_bundle.CorruptIndex as fault:
        yield error("variables", f"variables/variables.index: {fault}")
    except OSError as fault:
        yield error("variables", f"variables/: cannot be read: {fault.strerror or fault}")


def warmup_records(folder: Path, meta_graph: Any) -> Iterator[Finding]:
    """Signatures without warmup records, and records without a signature."""
    names = list(signature_infos(meta_graph.signature_def))
    path = folder / WARMUP_FILE
    why = "this version may replace a good one even if its calls fail"
    if not path.is_file():
        if names:
            yield note("warmup", f"no warmup records ({WARMUP_FILE}): the first calls are slow, and {why}")
        return
    try:
        counts = signatures_of(path)
    except (ValueError, OSError) as fault:
        yield error("warmup", f"{WARMUP_FILE}: {fault}; the version would not load")
        return
    if (count := counts.total()) > MOST_WARMUP_RECORDS:
        limit = f"with more than {MOST_WARMUP_RECORDS} the version would not load"
        yield error("warmup", f"{WARMUP_FILE} has {count} records, and {limit}")
    for name in sorted(set(counts) - set(names)):
        yield error("warmup", f"{WARMUP_FILE} calls the signature {name!r}, which does not exist: it won't load")
    for name in names:
        if name not in counts:
            yield warning("warmup", f"the signature {name} has no warmup record: {why}")


def batching(folder: Path, meta_graph: Any) -> Iterator[Finding]:
    """Parameters that the server refuses, or that break calls of this graph."""
    path = folder / BATCHING_FILE
    if not path.is_file():
        unbatched = f"no {BATCHING_FILE}: with --enable_per_model_batching_parameters its calls are not batched"
        yield note("batching", unbatched)
        return
    try:
        message = _batching_params(path)
    except (OSError, ValueError) as fault:
        yield error("batching", f"{BATCHING_FILE}: {fault}; the version would not load")
        return
    if not message.enable_large_batch_splitting.value:
        return
    why = (
        f"{BATCHING_FILE} sets enable_large_batch_splitting: the parts of a large call differ in shape, which crashes "
        "the server or mixes up rows; remove that setting"
    )
    for name, info in signature_infos(meta_graph.signature_def).items():
        for output, spec in info.outputs.items():
            if spec.shape is None or min(spec.shape[1:], default=0) < 0:
                yield error("splitting", f"{name}.{output} has an inner dimension that depends on the data, and {why}")


def _batching_params(path: Path) -> Any:
    """The ``BatchingParameters`` message of a file."""
    with path.open("rb") as file:
        data = file.read(_MOST_TEXT + 1)
    if len(data) > _MOST_TEXT:
        raise ValueError(f"it has more than {_MOST_TEXT} bytes")
    try:
        return text_format.Parse(data, BatchingParameters())
    except Exception as fault:  # for invalid files, protobuf raises more than its own ParseError
        raise ValueError(f"it is not a BatchingParameters text proto: {fault}") from fault
