"""What a server would make of a graph and its signatures."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...serving import contract
from ...serving.contract import (
    DEFAULT_SIGNATURE,
    DTYPE_NUMBERS,
    INIT_OP,
    MANIFEST_FILE,
    SIGNATURE_NAMES,
    TEXT_PAIR,
    Output,
)
from .finding import Finding, error, note, warning
from .saved_model import Graph, node_of, tensors_of

#: Attribute of functions, and of the nodes that call them, that XLA must compile.
_COMPILE = "_XlaMustCompile"
#: How many of these are named.
_NAMED = 3
_REST_STRINGS = (
    "the REST API writes it as it is, and as base64 only where the name ends in _bytes; bytes that are no UTF-8 break "
    "its JSON"
)
_DOUBLE, _STRING = DTYPE_NUMBERS["float64"], DTYPE_NUMBERS["string"]
_HALVES = (DTYPE_NUMBERS["float16"], DTYPE_NUMBERS["bfloat16"])


def callable_signatures(meta_graph: Any) -> list[tuple[str, Any]]:
    """Names and ``SignatureDef`` messages of what can be called, in the order of the names."""
    return sorted((name, each) for name, each in meta_graph.signature_def.items() if name != INIT_OP)


def declared(meta_graph: Any, name: str) -> tuple[Output, ...]:
    """What the contract says of a signature's outputs; nothing where neither name nor inputs are the contract's."""
    if name == DEFAULT_SIGNATURE:
        name = next((each for each in SIGNATURE_NAMES if each in meta_graph.signature_def), name)
    inputs = set(meta_graph.signature_def[name].inputs)
    pair = TEXT_PAIR in inputs
    if name not in SIGNATURE_NAMES or inputs != set(contract.input_names(pair)):
        return ()
    return contract.signature(name).outputs_for(pair)


def xla(graph: Graph) -> Iterator[Finding]:
    """What XLA must compile. Only what a signature depends on counts: a training step, for one, is never compiled."""
    outputs = [info for _, each in callable_signatures(graph.meta_graph) for info in each.outputs.values()]
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


def signatures(folder: Path, graph: Graph) -> Iterator[Finding]:
    """Tensors that are not there, and shapes and dtypes that a server cannot batch or write."""
    found = callable_signatures(graph.meta_graph)
    if not found:
        yield error("signature", "no signature: nothing can be called")
    batched = (folder / contract.BATCHING_FILE).is_file()
    nodes = {node.name for node in graph.nodes}
    for name, signature in found:
        inputs, outputs = ([(key, side[key]) for key in sorted(side)] for side in (signature.inputs, signature.outputs))
        for key, info in (*inputs, *outputs):
            for tensor in tensors_of(info):
                if node_of(tensor) not in nodes:
                    absent = f"{name}.{key} is the tensor {tensor!r}, which the graph does not have: calls of it fail"
                    yield error("signature", absent)
        own = {output.name for output in declared(graph.meta_graph, name)}
        for output, info in outputs:
            label = f"{name}.{output}"
            shape = [dim.size for dim in info.tensor_shape.dim]
            if not info.tensor_shape.unknown_rank and (not shape or shape[0] >= 0):
                scalar = f"{label} is {shape or 'a scalar'}, without a batch dimension"
                level = error if batched else warning
                yield level("batch-dimension", f"{scalar}: with batching on, every call to it fails")
            if info.dtype == _DOUBLE:
                yield note("dtype", f"{label} is float64: twice the bytes of float32 in every answer")
            if info.dtype in _HALVES:
                yield note("rest", f"{label} is of 16-bit floats, which the REST API cannot write")
            if info.dtype == _STRING and not output.endswith("_bytes") and output not in own:
                yield note("rest", f"{label} is a string: {_REST_STRINGS}")


def contract_outputs(folder: Path, meta_graph: Any) -> Iterator[Finding]:
    """In a version that rawbert made, what its client would not find or not understand."""
    if not (folder / MANIFEST_FILE).is_file():
        return
    for name, signature in callable_signatures(meta_graph):
        for output in declared(meta_graph, name):
            info = signature.outputs.get(output.name)
            given = info and (info.dtype, len(info.tensor_shape.dim))
            if given != (DTYPE_NUMBERS[output.dtype], len(output.shape)):
                yield warning("contract", f"{name} has no output {output}, which rawbert's client reads")
