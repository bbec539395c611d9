"""What a TensorFlow Serving release would make of a SavedModel, found without TensorFlow: ``rawbert check``.

Any SavedModel will do, whoever wrote it. What is found has one of three levels:

``error``    the server refuses the version, ends, or fails calls
``warning``  it works, and not as its users expect
``note``     worth knowing; true of many a model that is served without trouble
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf import text_format

from ...serving.contract import DTYPE_NUMBERS, INIT_OP
from ...serving.wire.protos import BatchingParameters
from ..publish import batching_params, warmup
from . import op_gate, saved_model, tensor_bundle
from .saved_model import Graph, node_of
from .warmup_file import CorruptRecords, signatures_of

__all__ = ["LEVELS", "Finding", "check"]

LEVELS = ("error", "warning", "note")

_TAG = "serve"
#: Attribute of functions, and of the nodes that call them, that XLA must compile.
_COMPILE = "_XlaMustCompile"
_DOUBLE, _STRING = DTYPE_NUMBERS["float64"], DTYPE_NUMBERS["string"]
_HALVES = (DTYPE_NUMBERS["float16"], DTYPE_NUMBERS["bfloat16"])
#: Bytes of a text proto that is read: a hundred times what anyone writes.
_MOST_TEXT = 100_000
#: Nodes that are named; of more, only the number is given.
_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """Something found: its level, a short name for tools, and a sentence for people."""

    level: str
    kind: str
    message: str


def check(folder: Path, target: str) -> list[Finding]:
    """Everything found in a version folder, the gravest first.

    Args:
        folder: where saved_model.pb lies.
        target: one of :data:`.opsets.RELEASES`.
    """
    try:
        model = saved_model.read(folder)
    except saved_model.Unreadable as error:
        return [Finding("error", error.kind, str(error))]
    graphs = [Graph(meta_graph) for meta_graph in model.meta_graphs]
    return sorted(_check(folder, graphs, target), key=lambda finding: LEVELS.index(finding.level))


def _check(folder: Path, graphs: list[Graph], target: str) -> Iterator[Finding]:
    serving = next((graph for graph in graphs if _TAG in graph.meta_graph.meta_info_def.tags), None)
    if serving is None:
        tags = ", ".join(str(list(graph.meta_graph.meta_info_def.tags)) for graph in graphs) or "none"
        yield Finding("error", "no-graph", f"no graph has the tag 'serve', which the server asks for; found: {tags}")
        return
    meta_graph = serving.meta_graph
    yield from _ops(graphs, target)
    yield from _xla(serving)
    yield from _assets(folder, meta_graph)
    yield from _variables(folder, serving)
    yield from _signatures(folder, serving)
    yield from _warmup(folder, meta_graph)
    yield from _batching(folder, meta_graph)


def _ops(graphs: list[Graph], target: str) -> Iterator[Finding]:
    for problem in op_gate.check(graphs, target):
        if problem.is_ignored:
            yield Finding(
                "warning", "attribute", f"TensorFlow Serving {target} ignores what it does not know: {problem}"
            )
        else:
            yield Finding("error", "op", f"TensorFlow Serving {target} cannot run it: {problem}")


def _xla(graph: Graph) -> Iterator[Finding]:
    """What no signature comes to, a step of training for one, is not compiled either."""
    outputs = [info.name for _, each in _callable(graph.meta_graph) for info in each.outputs.values()]
    nodes = _needed(graph, outputs)
    names = [name for name in graph.reached(nodes) if _compiled(graph.functions[name])]
    names += [node.name for node in nodes if _compiled(node)]
    if names:
        yield Finding(
            "error", "xla",
            f"{_some(names)} must be compiled by XLA (jit_compile=True), which the server refuses without "
            "--xla_cpu_compilation_enabled or --xla_gpu_compilation_enabled: export without it, or give that flag",
        )  # fmt: skip


def _compiled(body: Any) -> bool:
    """Whether a function, or the function that a node calls, is to be compiled by XLA."""
    return _COMPILE in body.attr and bool(body.attr[_COMPILE].b)


def _needed(graph: Graph, tensors: Iterable[str]) -> list[Any]:
    """The nodes of the main graph that tensors of it depend on."""
    nodes = {node.name: node for node in graph.nodes}
    needed: dict[str, Any] = {}
    waiting = list(tensors)
    while waiting:
        name = node_of(waiting.pop())
        if name in nodes and name not in needed:
            needed[name] = nodes[name]
            waiting += nodes[name].input
    return list(needed.values())


def _assets(folder: Path, meta_graph: Any) -> Iterator[Finding]:
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


def _variables(folder: Path, graph: Graph) -> Iterator[Finding]:
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


def _callable(meta_graph: Any) -> list[tuple[str, Any]]:
    return sorted((name, each) for name, each in meta_graph.signature_def.items() if name != INIT_OP)


def _signatures(folder: Path, graph: Graph) -> Iterator[Finding]:
    signatures = _callable(graph.meta_graph)
    if not signatures:
        yield Finding("error", "signature", "no signature: nothing can be called")
    batched = (folder / batching_params.FILE).is_file()
    nodes = {node.name for node in graph.nodes}
    for name, signature in signatures:
        inputs, outputs = ([(key, side[key]) for key in sorted(side)] for side in (signature.inputs, signature.outputs))
        for key, info in (*inputs, *outputs):
            # Sparse and composite tensors have other names.
            if info.name and node_of(info.name) not in nodes:
                yield Finding(
                    "error", "signature",
                    f"{name}.{key} is the tensor {info.name!r}, which the graph does not have: calls of it fail",
                )  # fmt: skip
        for output, info in outputs:
            label = f"{name}.{output}"
            shape = [dim.size for dim in info.tensor_shape.dim]
            if not info.tensor_shape.unknown_rank and (not shape or shape[0] >= 0):
                said = "a scalar" if not shape else f"{shape}"
                yield Finding(
                    "error" if batched else "warning", "batch-dimension",
                    f"{label} is {said}, without a batch dimension: with batching on, every call to it fails",
                )  # fmt: skip
            if info.dtype == _DOUBLE:
                yield Finding("note", "dtype", f"{label} is float64: twice the bytes of float32 in every answer")
            if info.dtype in _HALVES:
                yield Finding("note", "rest", f"{label} is of 16-bit floats, which the REST API cannot write")
            if info.dtype == _STRING and not output.endswith("_bytes"):
                yield Finding(
                    "note", "rest",
                    f"{label} is a string: the REST API writes it as it is, and as base64 only where the name ends in "
                    "_bytes; bytes that are no UTF-8 break its JSON",
                )  # fmt: skip


def _warmup(folder: Path, meta_graph: Any) -> Iterator[Finding]:
    names = [name for name, _ in _callable(meta_graph)]
    path = folder / warmup.FILE
    why = "a fault that shows only when it runs would not keep this version from replacing a good one"
    if not path.is_file():
        if names:
            yield Finding("note", "warmup", f"no warmup records ({warmup.FILE}): the first calls are slow, and {why}")
        return
    try:
        counts = signatures_of(path)
    except (CorruptRecords, OSError) as error:
        yield Finding("error", "warmup", f"{warmup.FILE}: {error}; the version would not load")
        return
    if sum(counts.values()) > warmup.MOST:
        yield Finding(
            "error", "warmup",
            f"{warmup.FILE} has {sum(counts.values())} records; the server takes {warmup.MOST}, and does not load more",
        )  # fmt: skip
    for name in sorted(set(counts) - set(names)):
        yield Finding(
            "error", "warmup", f"{warmup.FILE} calls the signature {name!r}, which there is not: it won't load"
        )
    for name in names:
        if name not in counts:
            yield Finding("warning", "warmup", f"the signature {name} has no warmup record: {why}")


def _batching(folder: Path, meta_graph: Any) -> Iterator[Finding]:
    path = folder / batching_params.FILE
    if not path.is_file():
        yield Finding(
            "note", "batching",
            f"no {batching_params.FILE}: with --enable_per_model_batching_parameters its calls are not batched",
        )  # fmt: skip
        return
    try:
        message = _batching_params(path)
    except (OSError, ValueError) as error:
        yield Finding("error", "batching", f"{batching_params.FILE}: {error}; the version would not load")
        return
    if not message.enable_large_batch_splitting.value:
        return
    for name, signature in _callable(meta_graph):
        for output, info in sorted(signature.outputs.items()):
            inner = [dim.size for dim in info.tensor_shape.dim][1:]
            if info.tensor_shape.unknown_rank or any(size < 0 for size in inner):
                yield Finding(
                    "error", "splitting",
                    f"{name}.{output} has an inner dimension that depends on the data, and {batching_params.FILE} sets "
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


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
