"""Nodes of an export that are pinned to the CPU, because on a machine with a GPU every copy between devices takes time.

Nodes of the tokenizer are pinned, because strings are on the CPU, and nodes that compute shapes and indices for the
encoder. Nodes that compute with weights are not pinned: embeddings, dense layers, attention, normalisation, heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from rawbert.exporter.protos import SavedModel
from rawbert.exporter.targets import saved_model
from rawbert.exporter.targets.saved_model import Graph, node_of

#: Ops that read weights.
WEIGHTS = {"ReadVariableOp", "ResourceGather"}
#: Ops that only pass a value on: their device does not matter.
PASSING = {"Identity", "IdentityN", "NoOp"}
#: Ops that copy the token ids to the device of the embeddings.
IDS = {"Reshape", "GatherV2", "StridedSlice"}


def is_pinned(node: Any) -> bool:
    return node.device.endswith("CPU:0")


class Walk:
    """Follows the function calls of a graph, and finds the nodes that compute with weights."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.weighted: set[tuple[str, str]] = set()
        self._done: dict[tuple[str, tuple[bool, ...]], list[bool]] = {}
        for node in graph.nodes:
            if "traced" not in str(node.attr["f"].func.name):  # those that save and restore
                for name in graph.called(node):
                    self.run(name, (False,) * len(node.input))

    def run(self, name: str, inputs: tuple[bool, ...]) -> list[bool]:
        """The results of a function that depend on weights, for given arguments that do."""
        if (name, inputs) in self._done:
            return self._done[name, inputs]
        function = self.graph.functions[name]
        arguments = [each.name for each in function.signature.input_arg]
        values: dict[str, list[bool]] = {each: [on] for each, on in zip(arguments, inputs, strict=False)}
        nodes = {node.name: node for node in function.node_def}

        def value(reference: str) -> bool:
            results = values.get(node_of(reference)) or visit(nodes[node_of(reference)])
            slot = int(reference.rpartition(":")[2]) if len(results) > 1 else 0
            return results[slot]

        def visit(node: Any) -> list[bool]:
            read = tuple(value(each) for each in node.input if each[0] != "^")
            called = self.graph.called(node)
            if called:
                passed = read[1:] if node.op in ("If", "StatelessIf") else read
                found = [self.run(each, passed) for each in called]
                results = [any(each) for each in zip(*found, strict=True)] if node.op != "While" else found[-1]
            else:
                results = [node.op in WEIGHTS or any(read)]
                if results[0]:
                    self.weighted.add((name, node.name))
            values[node.name] = results
            return results

        for node in function.node_def:
            if node.name not in values:
                visit(node)
        self._done[name, inputs] = [value(function.ret[each.name]) for each in function.signature.output_arg]
        return self._done[name, inputs]

    def nodes(self, part: str) -> Iterator[tuple[str, Any]]:
        """The computing nodes in the functions with ``part`` in their names, and in the functions that they call."""
        roots = [name for name in self.graph.functions if name.startswith(f"__inference_{part}_")]
        assert roots, part
        names = {*roots, *self.graph.reached(node for root in roots for node in self.graph.functions[root].node_def)}
        for name in names:
            for node in self.graph.functions[name].node_def:
                if node.op not in PASSING and not self.graph.called(node):
                    yield name, node


def faults(model: Any, native: bool) -> list[str]:
    """Nodes on the wrong device, as 'op node'."""
    walk = Walk(Graph(model.meta_graphs[0]))
    found = []
    for _, node in walk.nodes("_tokens"):
        if not is_pinned(node):
            found.append(f"{node.op} {node.name}")
    for name, each in walk.graph.functions.items():
        for node in each.node_def:
            if (name, node.name) in walk.weighted and is_pinned(node):
                found.append(f"{node.op} {node.name}")
    for name, node in walk.nodes("_encode") if native else ():
        prepares = node.op != "Const" and (name, node.name) not in walk.weighted
        if prepares and node.op not in IDS and not is_pinned(node):
            found.append(f"{node.op} {node.name}")
    return found


def spoil(model: Any, op: str, device: str, within: str) -> None:
    """Set another device for the first node of an op in the functions that ``within`` calls."""
    walk = Walk(Graph(model.meta_graphs[0]))
    node = next(node for _, node in walk.nodes(within) if node.op == op and node.device != device)
    node.device = device


@pytest.mark.parametrize("bundle", ["tiny_bundle", "hub_native_bundle", "hub_bundle"])
def test_the_tokenizer_and_what_prepares_for_the_encoder_are_pinned_and_nothing_else(
    bundle: str, request: pytest.FixtureRequest
) -> None:
    model = saved_model.read(request.getfixturevalue(bundle).path)
    walk = Walk(Graph(model.meta_graphs[0]))
    ops = [walk.graph.functions[name].node_def for name in {name for name, _ in walk.weighted}]
    assert {"MatMul", "Softmax", "Rsqrt", "Tanh"} & {node.op for nodes in ops for node in nodes}
    assert faults(model, native=bundle != "hub_bundle") == []


PLANTED: Sequence[tuple[str, str, str]] = [
    ("FastWordpieceTokenizeWithOffsets", "", "_tokens"),
    ("GatherV2", "", "_tokens"),
    ("Range", "", "_encode"),
    ("Cumsum", "/device:GPU:0", "_encode"),
    ("MatMul", "/device:CPU:0", "_encode"),
    ("BatchMatMulV2", "/device:CPU:0", "_encode"),
    ("Softmax", "/device:CPU:0", "_encode"),
    ("Rsqrt", "/device:CPU:0", "_encode"),
    ("ResourceGather", "/device:CPU:0", "_encode"),
    ("BiasAdd", "/device:CPU:0", "embed"),
]


@pytest.mark.parametrize(("op", "device", "within"), PLANTED)
def test_a_node_in_the_wrong_place_is_found(tiny_bundle: Any, op: str, device: str, within: str) -> None:
    model = SavedModel.FromString(saved_model.read(tiny_bundle.path).SerializeToString())
    spoil(model, op, device, within)
    assert len(faults(model, native=True)) == 1
