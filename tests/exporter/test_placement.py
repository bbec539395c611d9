"""What would run on the CPU between operations on a GPU, in graphs of functions that call each other."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from rawbert.exporter.protos import SavedModel
from rawbert.exporter.targets import bodies
from rawbert.exporter.targets.graph import TooLarge
from rawbert.exporter.targets.placement import Places

#: On the GPU, on the CPU, wherever its input is, and on the CPU with what it is told of a tensor on the GPU.
OPS = ("Relu", "Relu", "NthElement", "NthElement", "Identity", "Shape")
CALLS = ("PartitionedCall", "StatefulPartitionedCall", "While", "If")


def random_model(rng: random.Random) -> Any:
    """A SavedModel of one signature; functions call those that were made before them."""
    model = SavedModel()
    meta_graph = model.meta_graphs.add()
    graph = meta_graph.graph_def
    names: list[str] = []
    for at in range(rng.randrange(2, 6)):
        function = graph.library.function.add()
        function.signature.name = f"f{at}"
        arguments = ["x", "y"][: rng.randrange(1, 3)]
        for name in arguments:
            function.signature.input_arg.add(name=name)
        values = fill(function.node_def, arguments, names, rng, in_function=True)
        for number in range(rng.randrange(1, 3)):
            function.signature.output_arg.add(name=f"r{number}")
            function.ret[f"r{number}"] = rng.choice(values[-3:])
        names.append(f"f{at}")
    graph.node.add(name="input", op="Placeholder")
    values = fill(graph.node, ["input"], names, rng, in_function=False)
    signature = meta_graph.signature_def["serving_default"]
    for number in range(2):
        signature.outputs[f"o{number}"].name = rng.choice(values[-2:])
    return model


def fill(nodes: Any, arguments: list[str], functions: list[str], rng: random.Random, in_function: bool) -> list[str]:
    """Add nodes to a body; its arguments and what its nodes give, as references."""
    values = list(arguments)
    made = []
    wraps = bool(functions) and rng.random() < 0.3  # only calls, as the functions of signatures do
    for at in range(rng.randrange(1, 3 if wraps else 6)):
        call = rng.choice(CALLS) if wraps or (functions and rng.random() < 0.5) else None
        node = SavedModel().meta_graphs.add().graph_def.node.add(name=f"n{at}", op=call or rng.choice(OPS))
        for _ in range(rng.randrange(1, 4) if call else 1):
            node.input.append(rng.choice(values[-3:]))
        if call is None:
            node.attr["T"].type = 1
        else:
            for attr in {"While": ("cond", "body"), "If": ("then_branch", "else_branch")}.get(call, ("f",)):
                node.attr[attr].func.name = rng.choice(functions)
        made.append(node)
        for output in range(2 if call else 1):
            values.append(f"n{at}:output:{output}" if in_function else f"n{at}:{output}")
    if rng.random() < 0.3:
        rng.shuffle(made)
    nodes.extend(made)
    return values


def made_of(functions: dict[str, list[tuple[str, ...]]], main: list[tuple[str, ...]]) -> Any:
    """A SavedModel of chains: each node is its op and the functions that it calls, and reads the one before it."""
    model = SavedModel()
    graph = model.meta_graphs.add().graph_def
    graph.node.add(name="n0", op="Placeholder")
    for name, chain in functions.items():
        function = graph.library.function.add()
        function.signature.name = name
        function.signature.input_arg.add(name="x")
        function.signature.output_arg.add(name="y")
        function.ret["y"] = f"n{len(chain)}:y:0"
        link(function.node_def, chain, "x")
    link(graph.node, main, "n0")
    model.meta_graphs[0].signature_def["serving_default"].outputs["y"].name = f"n{len(main)}:0"
    return model


def link(nodes: Any, chain: list[tuple[str, ...]], before: str) -> None:
    for at, (op, *called) in enumerate(chain, 1):
        # The first input of a branch decides.
        node = nodes.add(name=f"n{at}", op=op, input=[before] * (2 if op == "If" else 1))
        node.attr["T"].type = 1
        for attr, function in zip(("then_branch", "else_branch") if op == "If" else ("f",), called, strict=False):
            node.attr[attr].func.name = function
        before = f"n{at}"


RELU, NTH = ("Relu",), ("NthElement",)
NESTED = {
    "what a wrapped function made, read on the CPU by the next": (
        {"gpu": [RELU], "cpu": [NTH], "both": [("PartitionedCall", "gpu"), ("PartitionedCall", "cpu")]},
        [("PartitionedCall", "both"), RELU],
        [("cpu", "n1")],
    ),
    "in the second branch": (
        {"gpu": [RELU], "back": [RELU, NTH, RELU], "branch": [("If", "gpu", "back")]},
        [("PartitionedCall", "branch")],
        [("back", "n2")],
    ),
    "behind a function that wraps one that wraps": (
        {"back": [RELU, NTH, RELU], "inner": [("PartitionedCall", "back")], "outer": [("PartitionedCall", "inner")]},
        [("PartitionedCall", "outer")],
        [("back", "n2")],
    ),
    "what a function without any such node passes on": (
        {"gpu": [RELU], "pass": [("Identity",)]},
        [RELU, ("PartitionedCall", "pass"), NTH, ("PartitionedCall", "gpu")],
        [("", "n3")],
    ),
    "nothing: no later node waits": ({"gpu": [RELU], "cpu": [NTH]}, [("PartitionedCall", "gpu"), NTH], []),
}


@pytest.mark.parametrize("case", NESTED)
def test_functions_within_functions(case: str) -> None:
    functions, main, found = NESTED[case]
    assert between(made_of(functions, main), always=False) == found


def test_a_function_that_calls_itself_cannot_be_followed() -> None:
    model = made_of({"self": [RELU, NTH, ("PartitionedCall", "self")]}, [("PartitionedCall", "self")])
    with pytest.raises(TooLarge):
        between(model, always=False)


def between(model: Any, always: bool) -> list[tuple[str, str]]:
    """What is found; ``always``: without asking first whether anything comes back."""
    (graph,) = bodies.read(io.BytesIO(model.SerializeToString()))
    places = Places(graph, "2.20")
    if always:
        places._forward.comes_back = True
    nodes = places.between(graph.meta_graph.signature_def["serving_default"])
    return [(node.function, node.name) for node in nodes]


@pytest.mark.parametrize("part", range(5))
def test_what_is_not_laid_open_has_nothing_to_find(part: int) -> None:
    found = 0
    for seed in range(part * 500, part * 500 + 500):
        model = random_model(random.Random(seed))
        wanted = between(model, always=True)
        assert between(model, always=False) == wanted, seed
        found += bool(wanted)
    assert found >= 20
