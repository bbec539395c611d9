"""A signature of a SavedModel as one graph: its calls and branches laid open, so that paths can be followed."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar

from .bodies import MAIN, Bodies, Kind

__all__ = [
    "DEEPEST",
    "Call",
    "Node",
    "TooLarge",
    "behind",
    "call_of",
    "flatten",
    "name_of",
    "ordered",
    "returns_of",
    "value_of",
]

#: What is laid open at most: calls within calls could make any number of nodes of a small file.
_MOST_NODES = 200_000
DEEPEST = 100

#: Ops that stand for functions, and the attributes that name these.
_CALLS = {
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "While": ("cond", "body"),
    "StatelessWhile": ("cond", "body"),
    "Case": ("branches",),
    "StatelessCase": ("branches",),
}
#: Those that run one function, the last, on all inputs.
_ONE = ("PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile")


class TooLarge(Exception):
    """Laid open, the graph would be too large, or it calls itself."""


class Node(NamedTuple):
    """A node that computes something.

    Attributes:
        kind: its op, device and dtypes.
        name: its name in the function.
        function: the function that it is in, '' for the main graph.
        inputs: indices of the nodes that it reads, all smaller than its own.
    """

    kind: Kind
    name: str
    function: str
    inputs: tuple[int, ...]


def behind(bodies: Bodies, wanted: Iterable[str]) -> tuple[set[str], set[str]]:
    """Nodes of the main graph that tensors of it need, and functions that these can come to call."""
    nodes = bodies.named(MAIN)
    needed = {name for name, _ in ordered(nodes, wanted)}
    return needed, bodies.reach({each for name in needed for each in bodies.called(nodes[name][1])})


class Call(NamedTuple):
    """A node that stands for functions.

    Attributes:
        functions: their names: one, or one a branch.
        branches: whether the first input decides between them; all others are their arguments.
    """

    functions: list[str]
    branches: bool


@functools.lru_cache(maxsize=10_000)
def call_of(kind: Kind) -> Call | None:
    """What nodes of a kind call; ``None`` for those that compute something themselves. Of a loop, its body."""
    names = [name for attr in _CALLS.get(kind.op, ()) for name in kind.calls.get(attr, ())]
    if not names:
        return None
    return Call(names[-1:], False) if kind.op in _ONE else Call(names, True)


def flatten(bodies: Bodies, signature: Any) -> list[Node]:
    """Nodes behind the outputs of a signature, each after those that it reads. Loops are walked once.

    Raises:
        TooLarge: see there.
    """
    walk = _Walk(bodies)
    walk.run(MAIN, {}, [info.name for info in signature.outputs.values()], 0)
    return walk.nodes


#: Producers of a value: several where a branch decides.
_Value = frozenset[int]
_NOTHING: _Value = frozenset()


class _Walk:
    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._runs = 0
        self.nodes: list[Node] = []

    def run(self, body: str, arguments: Mapping[str, _Value], wanted: Sequence[str], depth: int) -> list[_Value]:
        """Add the nodes of a body that ``wanted`` needs; what each of those is produced by."""
        self._runs += 1
        if depth > DEEPEST or self._runs > _MOST_NODES:
            raise TooLarge
        nodes = self._bodies.named(body)
        values: dict[str, Sequence[_Value]] = {name: [value] for name, value in arguments.items()}
        for name, read in ordered(nodes, wanted, arguments):
            _, kind = nodes[name]
            inputs = [value_of(values, each, _NOTHING) for each in read]
            call = call_of(kind)
            values[name] = self._call(call, inputs, depth) if call else [self._add(kind, name, body, inputs)]
        return [value_of(values, reference, _NOTHING) for reference in wanted]

    def _call(self, call: Call, inputs: list[_Value], depth: int) -> list[_Value]:
        if not call.branches:
            return self._function(call.functions[0], inputs, depth)
        branches = [self._function(each, inputs[1:], depth) for each in call.functions]
        decided = inputs[0] if inputs else _NOTHING
        return [decided.union(*each) for each in zip_longest(*branches, fillvalue=_NOTHING)]

    def _function(self, name: str, inputs: list[_Value], depth: int) -> list[_Value]:
        function = self._bodies.functions.get(name)
        if function is None:
            return []
        return self.run(
            name, dict(zip(self._bodies.arguments(name), inputs, strict=False)), returns_of(function), depth + 1
        )

    def _add(self, kind: Kind, name: str, body: str, inputs: list[_Value]) -> _Value:
        if len(self.nodes) >= _MOST_NODES:
            raise TooLarge
        read = inputs[0] if len(inputs) == 1 else _NOTHING.union(*inputs)
        self.nodes.append(Node(kind, name, body, tuple(sorted(read))))
        return frozenset((len(self.nodes) - 1,))


def returns_of(function: Any) -> list[str]:
    """What a ``FunctionDef`` returns, as references to its nodes and arguments."""
    return [function.ret.get(output.name, "") for output in function.signature.output_arg]


_V = TypeVar("_V")


def value_of(values: Mapping[str, Sequence[_V]], reference: str, nothing: _V) -> _V:
    """``node``, ``node:1`` (main graph) or ``node:output:1`` (function). Ops have one value for all their outputs."""
    outputs = values.get(reference)
    if outputs:
        return outputs[0]
    name, _, rest = reference.partition(":")
    outputs = values.get(name)
    if not outputs:
        return nothing
    if len(outputs) == 1 or not rest:
        return outputs[0]
    last = rest.rpartition(":")[2]
    at = int(last) if last.isdecimal() and len(last) < 9 else 0
    return outputs[at] if at < len(outputs) else outputs[0]


def ordered(
    nodes: Mapping[str, tuple[Any, Kind]], wanted: Iterable[str], arguments: Collection[str] = ()
) -> list[tuple[str, list[str]]]:
    """The nodes that ``wanted`` needs, each after those that it reads, and with what it reads (but for control).

    A cycle is cut where it is found.
    """
    order: list[tuple[str, list[str]]] = []
    seen = set(arguments)
    for root in wanted:
        stack: list[str | tuple[str, list[str]]] = [_name(root)]
        while stack:
            top = stack.pop()
            if isinstance(top, tuple):
                order.append(top)
            elif top in nodes and top not in seen:
                seen.add(top)
                read = list(nodes[top][0].input)
                stack.append((top, read))
                new = [each for each in read if each not in seen]
                # The others are arguments, mostly: calls have hundreds.
                stack += [name for each in new if (name := _name(each)) in nodes and name not in seen]
                while read and read[-1].startswith("^"):
                    read.pop()
    return order


def name_of(reference: str) -> str:
    """The node or argument that a reference is to; of one for control, which reads nothing, with its ^ and so none."""
    return reference.partition(":")[0]


def _name(reference: str) -> str:
    return name_of(reference).lstrip("^")
