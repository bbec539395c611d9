"""A hash of a graph's computation, independent of the names and order of nodes and functions.

Hashes are built bottom-up, as in a Merkle tree. A node's hash covers its op, device and attributes, and its inputs in
order: for each input the producer's hash and the number of its output. A call's hash covers the hash of the function in
place of its name. A function's hash covers its arguments, results and nodes. The hash of the graph covers the
signatures by name, the restoring of variables, the assets, and all nodes and functions, used or not, as a sorted list.

Two different nodes without inputs (variables, tables, placeholders) may have equal hashes by these rules. So hashes are
built twice: the second time, the hash of such a node also covers the nodes that read it.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from .saved_model import Graph, node_of, tensors_of

#: Attributes without effect on the computation, whose values differ between exports: names of nodes and of gradients,
#: functions of a training step by name, numbers of collective operations, settings of the writing session.
_UNSTABLE = frozenset({
    "_class", "_collective_manager_ids", "_gradient_op_type", "_original_func_name", "backward_function_name",
    "config_proto", "forward_function_name",
})  # fmt: skip
#: Part of the name of a table's op, and its attribute with a random name. (The names of variables are not random.)
_TABLE, _SHARED_NAME = "HashTable", "shared_name"
#: Ops at the start and at the end of a loop's iteration, in graphs of TensorFlow 1. No other cycle can run.
_TURN, _NEXT = ("Merge", "RefMerge"), ("NextIteration", "RefNextIteration")


class Unhashable(Exception):
    """Functions call each other in a cycle, or nodes read each other: no hash can be built bottom-up."""


def graph_hash(graph: Graph) -> str:
    """sha256 (hex) of a graph with its functions and signatures.

    Raises:
        Unhashable: see there.
    """
    meta_graph = graph.meta_graph
    calls = {
        name: {called for node in function.node_def for called in graph.called(node)}
        for name, function in graph.functions.items()
    }
    functions: dict[str, bytes] = {}
    for name in _bottom_up(calls, "functions call each other"):
        functions[name] = _hash_function(graph.functions[name], functions)
    nodes = _hash_nodes(graph.nodes, {}, functions)
    saver = meta_graph.saver_def
    # Only the requirements for readers: the producer is the release that wrote the graph.
    versions = meta_graph.graph_def.versions
    return _hash(
        _hash(*sorted(meta_graph.meta_info_def.tags)),
        _hash(str(versions.min_consumer), *map(str, versions.bad_consumers)),
        _hash(*sorted(nodes.values())),
        _hash(*sorted(functions.values())),
        *(_value(nodes, name) for name in (saver.filename_tensor_name, saver.save_tensor_name, saver.restore_op_name)),
        _hash(*sorted(_hash(each.filename, _tensor(nodes, each.tensor_info)) for each in meta_graph.asset_file_def)),
        *(_signature(nodes, name, each) for name, each in sorted(meta_graph.signature_def.items())),
    ).hex()


def _signature(nodes: Mapping[str, bytes], name: str, signature: Any) -> bytes:
    sides = (
        _hash(*(_hash(key, _tensor(nodes, info)) for key, info in sorted(side.items())))
        for side in (signature.inputs, signature.outputs)
    )
    defaults = (_hash(key, value) for key, value in sorted(signature.defaults.items()))
    return _hash(name, signature.method_name, *sides, *defaults)


def _tensor(nodes: Mapping[str, bytes], info: Any) -> bytes:
    return _hash(str(info.dtype), _bytes(info.tensor_shape), *(_value(nodes, name) for name in tensors_of(info)))


def _hash_function(function: Any, functions: Mapping[str, bytes]) -> bytes:
    inputs, outputs = function.signature.input_arg, function.signature.output_arg
    arguments = {each.name: _hash("argument", str(at)) for at, each in enumerate(inputs)}
    nodes = _hash_nodes(function.node_def, arguments, functions)
    types = (
        _hash(*(_hash(str(each.type), each.type_attr, each.number_attr, each.type_list_attr) for each in side))
        for side in (inputs, outputs)
    )
    return _hash(
        *types,
        _hash(*(_value(nodes, function.ret[each.name]) for each in outputs if each.name in function.ret)),
        _hash(*sorted(_value(nodes, name) for name in function.control_ret.values())),
        _attributes(function.attr, functions),
        _hash(*sorted(nodes.values())),
    )


def _hash_nodes(
    nodes: Iterable[Any], arguments: Mapping[str, bytes], functions: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The hashes of the nodes of a main graph or a function by name, and of its arguments."""
    named = {node.name: node for node in nodes}
    reads = {name: {node_of(each) for each in node.input} & named.keys() for name, node in named.items()}
    for name, producers in reads.items():
        if named[name].op in _TURN:
            producers -= {each for each in producers if named[each].op in _NEXT}
    order = [named[name] for name in _bottom_up(reads, "nodes read each other")]

    own = {name: _own(node, functions) for name, node in named.items()}
    first = _upward(order, own, arguments, {})
    readers: dict[str, list[bytes]] = {node.name: [] for node in order if not reads[node.name]}
    for node in order:
        for at, reference in enumerate(node.input):
            if (producer := node_of(reference)) in readers:
                readers[producer].append(_hash(first[node.name], "^" if reference[:1] == "^" else str(at)))
    for name, hashes in readers.items():
        own[name] = _hash(own[name], *sorted(hashes))
    return _upward(order, own, arguments, first)


def _own(node: Any, functions: Mapping[str, bytes]) -> bytes:
    """The hash of a node without its inputs."""
    left_out = {_SHARED_NAME} if _TABLE in node.op else set()
    return _hash(functions.get(node.op, node.op), node.device, _attributes(node.attr, functions, left_out))


def _upward(
    order: Iterable[Any], own: Mapping[str, bytes], arguments: Mapping[str, bytes], before: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Hashes of nodes with their inputs.

    Args:
        order: the nodes in dependency order.
        own: hash of each node without its inputs.
        arguments: hashes of a function's arguments.
        before: provisional hashes for the end of a loop's iteration, which comes after its start.
    """
    hashes = dict(arguments)
    for node in order:
        data = [each for each in node.input if each[:1] != "^"]
        controls = [each for each in node.input if each[:1] == "^"]
        hashes[node.name] = _hash(
            own[node.name],
            *(_value(hashes if node_of(each) in hashes else before, each) for each in data),
            _hash(*sorted(_value(hashes, each) for each in controls)),
        )
    return hashes


def _value(nodes: Mapping[str, bytes], reference: str) -> bytes:
    """The hash of a reference's target: ``node``, which is ``node:0``, ``node:1``, ``node:output:0`` or ``^node``."""
    return _hash(nodes.get(node_of(reference), "unknown"), reference.partition(":")[2] or "0")


def _attributes(attrs: Mapping[str, Any], functions: Mapping[str, bytes], left_out: Collection[str] = ()) -> bytes:
    return _hash(
        *(
            _hash(key, _attribute(value, functions))
            for key, value in sorted(attrs.items(), key=lambda item: item[0])
            if key not in _UNSTABLE and key not in left_out and not (key[:1] == "_" and value.HasField("func"))
        )
    )


def _attribute(value: Any, functions: Mapping[str, bytes]) -> bytes:
    def call(function: Any) -> bytes:
        return _hash(functions.get(function.name, function.name), _attributes(function.attr, functions))

    kind = value.WhichOneof("value")
    if kind == "func":
        return call(value.func)
    if kind == "list" and value.list.func:
        return _hash(*map(call, value.list.func))
    return _bytes(value)


def _bottom_up(needs: Mapping[str, Collection[str]], fault: str) -> list[str]:
    """The names in dependency order.

    Raises:
        Unhashable: there is a cycle.
    """
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise Unhashable(f"{fault} in a cycle: {' > '.join(error.args[1][:-5:-1])}") from error


def _bytes(message: Any) -> bytes:
    return message.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _hash(*parts: bytes | str) -> bytes:
    """sha256 of parts, each preceded by its length: different lists of parts have different hashes."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()
