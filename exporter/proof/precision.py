"""A check that a SavedModel of a low precision is the graph that was proven in float32, and nothing else.

A low precision changes every vector, and a wrong activation or epsilon may change it less. So the graph is proven in
float32, and the two files are compared here: the same operations with the same inputs and attributes from every
signature on, except casts between floating-point types; the same constants and variables, rounded; the same assets.
The only remaining difference is rounding, which is measured.
"""

import hashlib
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

#: Numbers of float32, bfloat16 and float16 (tensorflow.DataType).
_FLOATS = {1, 14, 19}
#: Attributes without effect on values: shapes, names of nodes, and numbered names of gradients.
_IGNORED = {
    "_output_shapes", "_class", "_user_specified_name", "_has_manual_control_dependencies", "config_proto",
    "_gradient_op_type", "_original_func_name", "backward_function_name", "forward_function_name",
}  # fmt: skip
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def differences(low: Path, exact: Path) -> list[str]:
    """The differences between the SavedModel in ``low`` and the float32 one in ``exact``, one line each."""
    return [*_graphs(_meta_graph(low), _meta_graph(exact)), *_weights(low, exact), *_assets(low, exact)]


def _meta_graph(folder: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (meta_graph,) = saved_model.meta_graphs
    return meta_graph


class _Scope:
    """Nodes of the graph or of a function by name, with the resolution of references to their outputs."""

    def __init__(self, nodes: Iterable[Any], arguments: Iterable[str] = ()) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._arguments = {name: at for at, name in enumerate(arguments)}

    def source(self, reference: str) -> tuple[Any, str]:
        """The target of a reference, after skipping casts between floats: a node or an argument's index, and the
        port."""
        while True:
            control = reference.startswith("^")
            name, _, port = reference.removeprefix("^").partition(":")
            if name in self._arguments:
                return self._arguments[name], port
            node = self._nodes[name]
            if node.op != "Cast" or control or not {node.attr["SrcT"].type, node.attr["DstT"].type} <= _FLOATS:
                return node, "^" if control else port or "0"
            reference = node.input[0]


def _graphs(low: Any, exact: Any) -> list[str]:
    """Follow both graphs from their signatures, and from their restore ops, towards their inputs."""
    tables = (low.signature_def, exact.signature_def)
    if set(tables[0]) != set(tables[1]):
        return [f"signatures are {sorted(tables[0])}, in float32 {sorted(tables[1])}"]
    pairs = [(low.saver_def.restore_op_name, exact.saver_def.restore_op_name)]
    for name in tables[0]:
        for side in ("inputs", "outputs"):
            one, other = (getattr(table[name], side) for table in tables)
            if set(one) != set(other):
                return [f"{name} has {side} {sorted(one)}, in float32 {sorted(other)}"]
            pairs += [(one[key].name, other[key].name) for key in one]
    libraries = [{each.signature.name: each for each in meta.graph_def.library.function} for meta in (low, exact)]
    functions: list[tuple[str, str]] = []
    line = _walk(_Scope(low.graph_def.node), _Scope(exact.graph_def.node), pairs, functions)
    compared = set()
    while line is None and functions:
        names = functions.pop()
        if names not in compared:
            compared.add(names)
            line = _function(libraries[0][names[0]], libraries[1][names[1]], functions)
    return [] if line is None else [f"the graph is not the one that was proven in float32: {line}"]


def _function(low: Any, exact: Any, functions: list[tuple[str, str]]) -> str | None:
    arguments = [[each.name for each in function.signature.input_arg] for function in (low, exact)]
    results = [
        [function.ret[each.name] for each in function.signature.output_arg]
        + [f"^{function.control_ret[name]}" for name in function.signature.control_output]
        for function in (low, exact)
    ]
    if len(arguments[0]) != len(arguments[1]) or len(results[0]) != len(results[1]):
        return f"{low.signature.name} has different inputs or outputs"
    scopes = [_Scope(function.node_def, names) for function, names in zip((low, exact), arguments, strict=True)]
    return _walk(scopes[0], scopes[1], list(zip(*results, strict=True)), functions)


def _walk(low: _Scope, exact: _Scope, pairs: list[tuple[str, str]], functions: list[tuple[str, str]]) -> str | None:
    """Compare the targets of pairs of references; called functions are added to ``functions``."""
    seen = set()
    while pairs:
        pair = pairs.pop()
        (one, one_port), (other, other_port) = low.source(pair[0]), exact.source(pair[1])
        if isinstance(one, int) or isinstance(other, int):
            if one is not other and one != other:
                return f"an input is {pair[0]}, in float32 {pair[1]}"
            continue
        if one_port != other_port:
            return f"the output {one_port} of {one.name} is used, in float32 {other_port} of {other.name}"
        if (one.name, other.name) in seen:
            continue
        seen.add((one.name, other.name))
        if (one.op, one.device, len(one.input)) != (other.op, other.device, len(other.input)):
            return f"{one.op} {one.name} is {other.op} {other.name} in float32"
        attributes = set(one.attr) | set(other.attr)
        for key in attributes - _IGNORED:
            if not _same_attribute(one.attr[key], other.attr[key], functions):
                return f"{key} of {one.op} {one.name}"
        data = [[each for each in node.input if not each.startswith("^")] for node in (one, other)]
        control = [sorted(each for each in node.input if each.startswith("^")) for node in (one, other)]
        if len(data[0]) != len(data[1]):
            return f"{one.op} {one.name} has different inputs"
        pairs += [*zip(*data, strict=True), *zip(*control, strict=True)]
    return None


def _same_attribute(low: Any, exact: Any, functions: list[tuple[str, str]]) -> bool:
    kind = low.WhichOneof("value")
    if kind != exact.WhichOneof("value"):
        return False
    if kind == "func":
        functions.append((low.func.name, exact.func.name))
        return True
    if kind == "tensor":
        import tensorflow as tf

        return _rounded(tf.make_ndarray(low.tensor), tf.make_ndarray(exact.tensor))
    if kind == "type":
        return low.type == exact.type or {low.type, exact.type} <= _FLOATS
    if kind == "list" and low.list.type:
        pairs = zip_longest(low.list.type, exact.list.type)
        return all(one == other or {one, other} <= _FLOATS for one, other in pairs)
    return bool(low == exact)


def _rounded(low: np.ndarray, exact: np.ndarray) -> bool:
    """Whether ``low`` is ``exact``, rounded to the dtype of ``low``."""
    return low.shape == exact.shape and np.array_equal(low, exact.astype(low.dtype))


def _weights(low: Path, exact: Path) -> list[str]:
    import tensorflow as tf

    readers = [tf.train.load_checkpoint(str(folder / "variables" / "variables")) for folder in (low, exact)]
    shapes = [reader.get_variable_to_shape_map() for reader in readers]
    if shapes[0] != shapes[1]:
        return ["the variables are not those that were proven in float32"]
    return [
        f"the variable {name} differs from the rounded float32 variable"
        for name in shapes[0]
        if name != _OBJECT_GRAPH and not _rounded(*(reader.get_tensor(name) for reader in readers))
    ]


def _assets(low: Path, exact: Path) -> list[str]:
    found = [
        {path.name: hashlib.sha256(path.read_bytes()).digest() for path in (folder / "assets").rglob("*")}
        for folder in (low, exact)
    ]
    return [] if found[0] == found[1] else ["the assets are not those that were proven in float32"]
