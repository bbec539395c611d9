"""Checks of a graph and its signatures."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...serving import contract
from ...serving.contract import (
    MANIFEST_FILE,
    Output,
)
from ...serving.wire.messages import signature_infos
from .finding import Finding, error, note, warning
from .saved_model import Graph, node_of, tensors_of

#: Attribute of functions, and of the nodes that call them, that XLA must compile.
_COMPILE = "_XlaMustCompile"
#: Maximum number of names in a finding.
_NAMED = 3
_REST_STRINGS = (
    "the REST API writes it unchanged, and as base64 only if the name ends in _bytes; bytes that are not UTF-8 break "
    "its JSON"
)


def declared(meta_graph: Any, name: str) -> tuple[Output, ...]:
    """The contract's outputs of a signature; empty if neither its name nor its inputs are in the contract."""
    return contract.declared_outputs(name, {key: set(each.inputs) for key, each in meta_graph.signature_def.items()})


def xla(graph: Graph) -> Iterator[Finding]:
    """Functions that XLA must compile. Only those that a signature depends on count; a training step is never
    compiled."""
    table = graph.meta_graph.signature_def
    outputs = [info for name in signature_infos(table) for info in table[name].outputs.values()]
    nodes = _needed(graph, [name for info in outputs for name in tensors_of(info)])
    bodies = [(name, graph.functions[name]) for name in graph.reached(nodes)] + [(node.name, node) for node in nodes]
    names = [name for name, body in bodies if _COMPILE in body.attr and body.attr[_COMPILE].b]
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield error(
            "xla",
            f"{', '.join(names[:_NAMED])}{more} must be compiled by XLA (jit_compile=True), which the server refuses "
            "without --xla_cpu_compilation_enabled or --xla_gpu_compilation_enabled: export without it, or give a flag",
        )


def _needed(graph: Graph, tensors: Iterable[str]) -> list[Any]:
    """The nodes of the main graph on which tensors depend."""
    nodes = {node.name: node for node in graph.nodes}
    needed: dict[str, Any] = {}
    waiting = list(tensors)
    while waiting:
        name = node_of(waiting.pop())
        if name in nodes and name not in needed:
            needed[name] = nodes[name]
            waiting += nodes[name].input
    return list(needed.values())


def signatures(folder: Path, graph: Graph) -> Iterator[Finding]:
    """Missing tensors, and shapes and dtypes that a server cannot batch or write."""
    table = graph.meta_graph.signature_def
    found = signature_infos(table)
    if not found:
        yield error("signature", "no signature: nothing can be called")
    batched = (folder / contract.BATCHING_FILE).is_file()
    nodes = {node.name for node in graph.nodes}
    for name, signature in found.items():
        for side in (table[name].inputs, table[name].outputs):
            for key in sorted(side):
                for tensor in (each for each in tensors_of(side[key]) if node_of(each) not in nodes):
                    absent = f"{name}.{key} is the tensor {tensor!r}, which the graph does not have: calls of it fail"
                    yield error("signature", absent)
        own = {output.name for output in declared(graph.meta_graph, name)}
        for output, spec in signature.outputs.items():
            label = f"{name}.{output}"
            if spec.shape is not None and (not spec.shape or spec.shape[0] >= 0):
                scalar = f"{label} is {list(spec.shape) or 'a scalar'}, without a batch dimension"
                level = error if batched else warning
                yield level("batch-dimension", f"{scalar}: with batching on, every call to it fails")
            if spec.dtype == "float64":
                yield note("dtype", f"{label} is float64: twice the bytes of float32 in every answer")
            if spec.dtype in ("float16", "bfloat16"):
                yield note("rest", f"{label} has 16-bit floats, which the REST API cannot write")
            if spec.dtype == "string" and not output.endswith("_bytes") and output not in own:
                yield note("rest", f"{label} is a string: {_REST_STRINGS}")


def contract_outputs(folder: Path, meta_graph: Any) -> Iterator[Finding]:
    """In a version made by rawbert: parts that its client would miss or not understand."""
    if not (folder / MANIFEST_FILE).is_file():
        return
    for name, info in signature_infos(meta_graph.signature_def).items():
        for output in declared(meta_graph, name):
            spec = info.outputs.get(output.name)
            if spec is None or (spec.dtype, len(spec.shape or ())) != (output.dtype, len(output.shape)):
                yield warning("contract", f"{name} has no output {output}, which rawbert's client reads")
