"""A signature of a SavedModel as one graph: its calls and branches laid open, so that paths can be followed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Node", "TooLarge", "flatten"]

#: What is laid open at most: calls within calls could make any number of nodes of a small file.
_MOST_NODES = 200_000
_DEEPEST = 100

_CALLS = {"PartitionedCall": "f", "StatefulPartitionedCall": "f"}
_BRANCHES = {
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "While": ("cond", "body"),
    "StatelessWhile": ("cond", "body"),
}
_CASES = {"Case", "StatelessCase"}


class TooLarge(Exception):
    """Laid open, the graph would be too large, or it calls itself."""


@dataclass(frozen=True)
class Node:
    """A node that computes something.

    Attributes:
        op: its op.
        name: its name in the function.
        function: the function that it is in, '' for the main graph.
        types: its attributes that are dtypes, as DataType numbers.
        device: the device that it asks for.
        inputs: indices of the nodes that it reads, all smaller than its own.
    """

    op: str
    name: str
    function: str
    types: tuple[tuple[str, int], ...]
    device: str
    inputs: tuple[int, ...]


def flatten(meta_graph: Any, signature: Any) -> list[Node]:
    """Nodes behind the outputs of a signature, each after those that it reads. Loops are walked once.

    Raises:
        TooLarge: see there.
    """
    graph = meta_graph.graph_def
    walk = _Walk({function.signature.name: function for function in graph.library.function})
    walk.run(graph.node, "", {}, [info.name for info in signature.outputs.values()], 0)
    return walk.nodes


#: Producers of a value: several where a branch decides.
_Value = frozenset[int]


class _Walk:
    def __init__(self, functions: Mapping[str, Any]) -> None:
        self._functions = functions
        self.nodes: list[Node] = []

    def run(
        self, body: Iterable[Any], function: str, arguments: Mapping[str, _Value], wanted: Sequence[str], depth: int
    ) -> list[_Value]:
        """Add the nodes of a body that ``wanted`` needs; what each of those is produced by."""
        if depth > _DEEPEST:
            raise TooLarge
        nodes = {node.name: node for node in body}
        values: dict[str, list[_Value]] = {name: [value] for name, value in arguments.items()}
        for name in _ordered(nodes, [_name(reference) for reference in wanted], arguments):
            node = nodes[name]
            inputs = [_value(values, each) for each in node.input if not each.startswith("^")]
            values[name] = self._outputs(node, function, inputs, depth)
        return [_value(values, reference) for reference in wanted]

    def _outputs(self, node: Any, function: str, inputs: list[_Value], depth: int) -> list[_Value]:
        attr = node.attr
        if node.op in _CALLS and _CALLS[node.op] in attr:
            return self._call(attr[_CALLS[node.op]].func.name, inputs, depth)
        called: list[str] = []
        if node.op in _BRANCHES:
            called = [attr[each].func.name for each in _BRANCHES[node.op] if each in attr]
        elif node.op in _CASES and "branches" in attr:
            called = [each.name for each in attr["branches"].list.func]
        if not called:
            return [frozenset([self._add(node, function, inputs)])]
        if node.op.endswith("While"):
            return self._call(called[-1], inputs, depth)
        branches = [self._call(each, inputs[1:], depth) for each in called]
        width = max(map(len, branches), default=0)
        decided = inputs[0] if inputs else frozenset()
        return [decided.union(*(each[at] for each in branches if at < len(each))) for at in range(width)]

    def _call(self, name: str, inputs: list[_Value], depth: int) -> list[_Value]:
        function = self._functions.get(name)
        if function is None:
            return []
        names = [argument.name for argument in function.signature.input_arg]
        arguments = dict(zip(names, inputs, strict=False))
        wanted = [function.ret.get(output.name, "") for output in function.signature.output_arg]
        return self.run(function.node_def, name, arguments, wanted, depth + 1)

    def _add(self, node: Any, function: str, inputs: list[_Value]) -> int:
        if len(self.nodes) >= _MOST_NODES:
            raise TooLarge
        read = tuple(sorted(frozenset().union(*inputs)))
        types = tuple((name, value.type) for name, value in node.attr.items() if value.type)
        self.nodes.append(Node(node.op, node.name, function, types, node.device, read))
        return len(self.nodes) - 1


def _name(reference: str) -> str:
    return reference.split(":", 1)[0].lstrip("^")


def _value(values: Mapping[str, list[_Value]], reference: str) -> _Value:
    """``node``, ``node:1`` (main graph) or ``node:output:1`` (function). Ops have one value for all their outputs."""
    outputs = values.get(_name(reference), [])
    last = reference.rsplit(":", 1)[-1]
    at = int(last) if ":" in reference and last.isdecimal() and len(last) < 9 else 0
    if not outputs:
        return frozenset()
    return outputs[at] if at < len(outputs) else outputs[0]


def _ordered(nodes: Mapping[str, Any], wanted: Iterable[str], arguments: Mapping[str, _Value]) -> list[str]:
    """Names of the nodes that ``wanted`` needs, each after those that it reads. A cycle is cut where it is found."""
    order: list[str] = []
    seen: set[str] = set()
    for root in wanted:
        stack = [(root, False)]
        while stack:
            name, done = stack.pop()
            if done:
                order.append(name)
            elif name in nodes and name not in seen and name not in arguments:
                seen.add(name)
                stack.append((name, True))
                stack.extend((_name(each), False) for each in nodes[name].input)
    return order
