"""Faults that are planted in graphs, in every branch, signature and family, and the exports for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proofs import Planted

#: Exports by name: the checkpoint in tests/data, and settings.
EXPORTS: dict[str, tuple[str, dict[str, Any]]] = {
    "embed": ("tiny_bert", {"signatures": ("embed",), "pooling": "mean"}),
    "tokenize": ("tiny_bert", {"signatures": ("tokenize",)}),
    "tf-text": ("tiny_bert", {"signatures": ("tokenize",), "tokenizer": "tf-text"}),
    "sequence": ("tiny_bert", {"signatures": ("sequence", "tokenize")}),
    "vectors": ("tiny_bert", {"signatures": ("embed", "pooled"), "pooling": "cls", "normalize": True}),
    "pair": ("tiny_bert", {"signatures": ("pooled",), "pair": True}),
    "pair tokens": ("tiny_bert", {"signatures": ("tokenize",), "pair": True, "max_seq_length": 24}),
    "only_first": (
        "tiny_bert",
        {"signatures": ("tokenize",), "pair": True, "truncation_strategy": "only_first", "max_seq_length": 24},
    ),
    "only_second": (
        "tiny_bert",
        {"signatures": ("tokenize",), "pair": True, "truncation_strategy": "only_second", "truncation_side": "left"},
    ),
    "hub": ("hub_bert", {"signatures": ("pooled", "sequence"), "encoder_impl": "hub"}),
    "hub native": ("hub_bert", {"signatures": ("pooled",), "encoder_impl": "native"}),
    "electra": ("tiny_electra", {"signatures": ("sequence",)}),
    "distilbert": ("tiny_distilbert", {"signatures": ("sequence",)}),
}


# Edits of a graph.


def function(meta_graph: Any, *names: str) -> Any:
    """A function by path: a part of its name, then ``then`` or ``else`` of a condition (``cond``, ``cond_1``) in it."""
    library = {each.signature.name: each for each in meta_graph.graph_def.library.function}
    (found,) = (each for name, each in library.items() if f"_inference_{names[0]}_" in name)
    for name in names[1:]:
        of, _, branch = name.rpartition(" ")
        (condition,) = (node for node in found.node_def if node.op in ("If", "StatelessIf") and ends(node, of))
        found = library[condition.attr[f"{branch}_branch"].func.name]
    return found


def ends(node: Any, name: str) -> bool:
    return node.name.rpartition("/")[2] == (name or "cond")


def called(meta_graph: Any, caller: Any) -> list[Any]:
    """The functions that a function calls, one by one."""
    library = {each.signature.name: each for each in meta_graph.graph_def.library.function}
    names = dict.fromkeys(node.attr["f"].func.name for node in caller.node_def if node.op.endswith("PartitionedCall"))
    return [library[name] for name in names]


def nodes(of: Any, op: str) -> list[Any]:
    found = [node for node in of.node_def if node.op == op]
    assert found, f"no {op} there"
    return found


def passes(node: Any, at: int = 0) -> None:
    """Make a node return one of its inputs."""
    kind = node.attr["T"].type or 7  # DT_STRING, of ops for strings only
    kept = node.input[at]
    node.op = "Identity"
    del node.input[:]
    node.input.append(kept)
    node.attr.clear()
    node.attr["T"].type = kind


def constant(node: Any, change: Callable[[np.ndarray], Any]) -> None:
    """Change the value of a Const."""
    import tensorflow as tf

    value = tf.make_ndarray(node.attr["value"].tensor)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.asarray(change(value.copy()), value.dtype)))


def constants(of: Any, value: float) -> list[Any]:
    """Constants with one element."""
    import tensorflow as tf

    found = [
        node
        for node in of.node_def
        if node.op == "Const"
        and node.attr["dtype"].type != 7
        and (array := tf.make_ndarray(node.attr["value"].tensor)).size == 1
        and np.isclose(float(array.reshape(())), value, rtol=1e-5, atol=0)
    ]
    assert found, f"no {value} there"
    return found


def input_of(of: Any, node: Any, at: int) -> Any:
    name = node.input[at].partition(":")[0]
    return next(each for each in of.node_def if each.name == name)


def wrapped(of: Any, node: Any, at: int, op: str, axis: int | None = None, **types: int) -> None:
    """Put an operation between a node and one of its inputs."""
    new = of.node_def.add(name=f"{node.name}_{op}", op=op, input=[node.input[at]])
    for key, value in types.items():
        new.attr[key].type = value
    if axis is not None:
        import tensorflow as tf

        of.node_def.add(name=f"{new.name}_axis", op="Const").attr["dtype"].type = 3
        of.node_def[-1].attr["value"].tensor.CopyFrom(tf.make_tensor_proto([axis], tf.int32))
        new.input.append(f"{new.name}_axis:output:0")
        new.attr["Tidx"].type = 3
    node.input[at] = f"{new.name}:{'y' if op == 'ZerosLike' else 'output'}:0"


def swapped_results(of: Any, one: int, other: int) -> None:
    names = [each.name for each in of.signature.output_arg]
    first, second = of.ret[names[one]], of.ret[names[other]]
    of.ret[names[one]], of.ret[names[other]] = second, first


def swapped_branches(meta_graph: Any, *path: str) -> None:
    of, _, name = (function(meta_graph, *path[:-1]), None, path[-1])
    (node,) = (each for each in of.node_def if each.op in ("If", "StatelessIf") and ends(each, name))
    then, other = node.attr["then_branch"].func.name, node.attr["else_branch"].func.name
    node.attr["then_branch"].func.name, node.attr["else_branch"].func.name = other, then


def spoiled(of: Any) -> None:
    """Add 1 to the first numeric result of a function."""
    for argument in of.signature.output_arg:
        if argument.type in (1, 3):
            import tensorflow as tf

            one = of.node_def.add(name="planted_one", op="Const")
            one.attr["dtype"].type = argument.type
            one.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(1, tf.dtypes.as_dtype(argument.type)))
            total = of.node_def.add(name="planted", op="AddV2", input=[of.ret[argument.name], "planted_one:output:0"])
            total.attr["T"].type = argument.type
            of.ret[argument.name] = "planted:z:0"
            return
    raise AssertionError("no number there")


ENCODER = ("_encode",)
ALONE, TOGETHER = ("_encode", " then"), ("_encode", " else")


def layer(meta_graph: Any, branch: tuple[str, ...]) -> Any:
    """The function of the layers in an encoder's branch, which is in the file once."""
    (found,) = called(meta_graph, function(meta_graph, *branch))
    return found


def without(branch: tuple[str, ...], op: str, which: int, at: int = 0) -> Callable[[Any], None]:
    return lambda m: passes(nodes(layer(m, branch), op)[which], at)


def positions_reversed(branch: tuple[str, ...]) -> Callable[[Any], None]:
    def plant(meta_graph: Any) -> None:
        of = function(meta_graph, *branch)
        wrapped(of, nodes(of, "ResourceGather")[1], 1, "ReverseV2", axis=0, T=3)

    return plant


def other_epsilon(branch: tuple[str, ...], value: float) -> Callable[[Any], None]:
    return lambda m: [constant(node, lambda x: x * 1e9) for node in constants(layer(m, branch), value)] and None


def unmasked(group: int) -> Callable[[Any], None]:
    def plant(meta_graph: Any) -> None:
        of = function(meta_graph, *TOGETHER)
        chosen = [node for node in nodes(of, "SelectV2") if input_of(of, node, 2) in constants(of, -1e9)]
        assert len(chosen) == 4
        constant(input_of(of, chosen[group], 2), lambda x: x * 0)

    return plant


def groups_swapped(meta_graph: Any) -> None:
    node = nodes(layer(meta_graph, TOGETHER), "ConcatV2")[0]
    node.input[0], node.input[1] = node.input[1], node.input[0]


def head(op: str, which: int = 0, at: int = 0) -> Callable[[Any], None]:
    return lambda m: passes(nodes(function(m, "embed"), op)[which], at)


def room(change: int) -> Callable[[Any], None]:
    """Change the maximum length: constants that are inputs of a Minimum, directly or after a subtraction."""

    def plant(meta_graph: Any) -> None:
        of = function(meta_graph, "_tokens")
        by_name = {node.name: node for node in of.node_def}
        lengths = {}
        for node in nodes(of, "Minimum"):
            reached = [by_name.get(name.partition(":")[0]) for name in node.input]
            for each in reached:
                if each is not None and each.op in ("Maximum", "Sub"):
                    reached += [by_name.get(name.partition(":")[0]) for name in each.input]
            lengths |= {each.name: each for each in reached if each is not None and each.op == "Const"}
        assert lengths, "no length there"
        for node in lengths.values():
            constant(node, lambda x: np.where(x > 1, x + change, x))

    return plant


def entry(name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Change an entry of the table of signatures."""
    return lambda m: change(m.signature_def[name])


def renamed(side: str, old: str, new: str) -> Callable[[Any], None]:
    def change(signature: Any) -> None:
        tensors = getattr(signature, side)
        tensors[new].CopyFrom(tensors[old])
        del tensors[old]

    return change


def swapped(side: str, one: str, other: str) -> Callable[[Any], None]:
    def change(signature: Any) -> None:
        tensors = getattr(signature, side)
        tensors[one].name, tensors[other].name = tensors[other].name, tensors[one].name

    return change


def crossed(one: tuple[str, str], other: tuple[str, str]) -> Callable[[Any], None]:
    def change(meta_graph: Any) -> None:
        first, second = (meta_graph.signature_def[name].outputs[key] for name, key in (one, other))
        first.name, second.name = second.name, first.name
        first, second = (meta_graph.signature_def[name].inputs["text"] for name, _ in (one, other))
        first.name, second.name = second.name, first.name

    return change


def typed(side: str, key: str, dtype: int) -> Callable[[Any], None]:
    return lambda signature: setattr(getattr(signature, side)[key], "dtype", dtype)


def sized(side: str, key: str, at: int, size: int) -> Callable[[Any], None]:
    return lambda signature: setattr(getattr(signature, side)[key].tensor_shape.dim[at], "size", size)


def default_is(meta_graph: Any, name: str, key: str) -> None:
    """Take the default's only output from another signature."""
    default, other = meta_graph.signature_def["serving_default"], meta_graph.signature_def[name]
    (output,) = default.outputs.values()
    output.name, default.inputs["text"].name = other.outputs[key].name, other.inputs["text"].name


def extra_input(signature: Any) -> None:
    signature.inputs["more"].CopyFrom(signature.inputs["text"])


def in_hub(op: str, at: int = 0, which: int = 0) -> Callable[[Any], None]:
    """Leave out an operation of the Hub layer's own functions, in all its copies."""

    def plant(meta_graph: Any) -> None:
        library = meta_graph.graph_def.library.function
        for of in [each for each in library if sum(node.op == op for node in each.node_def) > which]:
            passes(nodes(of, op)[which], at)

    return plant


def hub_outputs(op: str, which: int) -> Callable[[Any], None]:
    """Make a gather at the end of the Hub encoder return rows in their input order."""

    def plant(meta_graph: Any) -> None:
        of = function(meta_graph, "_encode")
        node = nodes(of, op)[which]
        wrapped(of, node, 1, "ReverseV2", axis=0, T=3)

    return plant


def table_entry(meta_graph: Any) -> None:
    """Change the entry of the code point table for a Cyrillic letter."""
    of = function(meta_graph, "_tokens", " else", "cond_1 else")
    (captured,) = [at for at, each in enumerate(of.signature.input_arg) if "pages" in each.name][:1] or [None]
    assert captured is None
    pages = max(nodes(of, "Const"), key=lambda node: node.attr["value"].tensor.ByteSize())
    constant(pages, lambda x: np.where(x == x.max(), 0, x))


Fault = Callable[[Any], Any]

#: Export -> faults by name.
FAULTS: dict[str, dict[str, Fault]] = {
    "tokenize": {
        "plain: lower case left out": lambda m: passes(nodes(function(m, "_tokens", " then"), "StringLower")[0]),
        "mixed: lower case left out of its plain texts": lambda m: passes(
            nodes(function(m, "_tokens", " else"), "StringLower")[0]
        ),
        "plain and mixed swapped": lambda m: swapped_branches(m, "_tokens", "cond"),
        "plain: spoiled": lambda m: spoiled(function(m, "_tokens", " then")),
        "mixed: spoiled": lambda m: spoiled(function(m, "_tokens", " else")),
        "added tokens: spoiled where there are any": lambda m: spoiled(function(m, "_tokens", " else", "cond then")),
        "added tokens: spoiled where there are none": lambda m: spoiled(function(m, "_tokens", " else", "cond else")),
        "added tokens: the branches swapped": lambda m: swapped_branches(m, "_tokens", " else", "cond"),
        "marks: spoiled where they change places": lambda m: spoiled(function(m, "_tokens", " else", "cond_1 then")),
        "marks: spoiled where there are none": lambda m: spoiled(function(m, "_tokens", " else", "cond_1 else")),
        "marks: the branches swapped": lambda m: swapped_branches(m, "_tokens", " else", "cond_1"),
        "bytes that are no UTF-8 left out": lambda m: setattr(
            nodes(function(m, "_tokens", " else"), "UnicodeDecodeWithOffsets")[0].attr["errors"], "s", b"ignore"
        ),
        "another character for bytes that are no UTF-8": lambda m: setattr(
            nodes(function(m, "_tokens", " else"), "UnicodeDecodeWithOffsets")[0].attr["replacement_char"], "i", 97
        ),
        "cut one token early": room(-1),
        "cut one token late": room(1),
        "offsets swapped": lambda m: swapped_results(function(m, "_tokens"), 2, 3),
        "ids for mask": lambda m: swapped_results(function(m, "_tokens"), 0, 1),
    },
    "tf-text": {
        "plain: lower case left out": lambda m: passes(nodes(function(m, "_tokens", " then"), "StringLower")[0]),
        "plain and mixed swapped": lambda m: swapped_branches(m, "_tokens", "cond"),
        "mixed: spoiled": lambda m: spoiled(function(m, "_tokens", " else")),
        "cut one token early": room(-1),
    },
    "embed": {
        "alone: positions reversed": positions_reversed(ALONE),
        "together: positions reversed": positions_reversed(TOGETHER),
        "alone: spoiled": lambda m: spoiled(function(m, *ALONE)),
        "together: spoiled": lambda m: spoiled(function(m, *TOGETHER)),
        "alone: a bias left out": without(ALONE, "BiasAdd", 0),
        "together: a bias left out": without(TOGETHER, "BiasAdd", 2),
        "alone: no softmax": without(ALONE, "Softmax", 0),
        "together: no softmax in a group": without(TOGETHER, "Softmax", 0),
        "together: no softmax in the last group": without(TOGETHER, "Softmax", 3),
        "alone: no GELU": without(ALONE, "Erfc", 0),
        "together: no GELU": without(TOGETHER, "Erfc", 0),
        "alone: a residual left out": without(ALONE, "AddV2", 0, 1),
        "together: a residual left out": without(TOGETHER, "AddV2", 4, 1),
        "alone: another epsilon": other_epsilon(ALONE, 1e-12),
        "together: the mask of group 1 left out": unmasked(0),
        "together: the mask of group 2 left out": unmasked(1),
        "together: the mask of group 3 left out": unmasked(2),
        "together: the mask of group 4 left out": unmasked(3),
        "together: groups swapped": groups_swapped,
        "head: sum for mean": head("RealDiv", 0),
        "alone and together swapped": lambda m: swapped_branches(m, "_encode", "cond"),
    },
    "sequence": {
        "padding not zeroed": lambda m: passes(nodes(function(m, "sequence"), "SelectV2")[0], 1),
        "the default without an output": entry("serving_default", lambda s: s.outputs.pop("token_count")),
        "the default without its tokens": entry(
            "serving_default",
            lambda s: [s.outputs.pop(key) for key in list(s.outputs) if key != "sequence_output"],
        ),
        "starts and limits swapped in one signature": entry(
            "tokenize", swapped("outputs", "start_offsets", "limit_offsets")
        ),
        "a dtype that is declared otherwise": entry("sequence", typed("outputs", "token_count", 9)),
        "an input of another dtype": entry("tokenize", typed("inputs", "text", 9)),
        "an input of another name": entry("tokenize", renamed("inputs", "text", "texts")),
        "one more input": entry("sequence", extra_input),
        "an output of another name": entry("tokenize", renamed("outputs", "token_count", "count")),
        "a batch of fixed size": entry("tokenize", sized("outputs", "token_count", 0, 8)),
        "an input of fixed size": entry("sequence", sized("inputs", "text", 0, 1)),
        "a signature missing": lambda m: m.signature_def.pop("tokenize"),
        "one signature too many": lambda m: m.signature_def["more"].CopyFrom(m.signature_def["tokenize"]),
    },
    "vectors": {
        "not normalised": head("RealDiv"),
        "embed and pooled swapped": crossed(("embed", "embedding"), ("pooled", "pooled_output")),
        "the default of another signature": lambda m: default_is(m, "pooled", "pooled_output"),
        "pooled: no tanh": lambda m: passes(nodes(function(m, "_encode"), "Tanh")[0]),
        "pooled: a bias left out": lambda m: passes(nodes(function(m, "_encode"), "BiasAdd")[0]),
    },
    "pair": {
        "alone: types left out": lambda m: wrapped(
            function(m, *ALONE), nodes(function(m, *ALONE), "ResourceGather")[2], 1, "ZerosLike", T=3
        ),
        "together: types left out": lambda m: wrapped(
            function(m, *TOGETHER), nodes(function(m, *TOGETHER), "ResourceGather")[2], 1, "ZerosLike", T=3
        ),
        "the texts swapped": entry("pooled", swapped("inputs", "text", "text_pair")),
        "the texts swapped in the default": entry("serving_default", swapped("inputs", "text", "text_pair")),
    },
    "pair tokens": {
        "no types": lambda m: passes(nodes(function(m, "tokenize"), "Identity")[-1], 0)
        or swapped_results(function(m, "_tokens"), 1, 5),
        "longest first: one token less": lambda m: [
            constant(node, lambda x: x - 1) for node in constants(function(m, "_tokens"), 21)
        ],
        "plain: spoiled": lambda m: spoiled(function(m, "_tokens", " then")),
        "mixed: spoiled": lambda m: spoiled(function(m, "_tokens", " else")),
    },
    "only_first": {"one token less": room(-1), "one token more": room(1)},
    "only_second": {"one token less": room(-1), "one token more": room(1)},
    "hub": {
        "texts out of order": hub_outputs("GatherV2", -1),
        "rows out of order": hub_outputs("GatherV2", -2),
        "a bias of the layer left out": in_hub("BiasAdd"),
        "no tanh": in_hub("Tanh"),
        "no softmax": in_hub("Softmax"),
    },
    "hub native": {
        "alone: positions reversed": positions_reversed(ALONE),
        "together: positions reversed": positions_reversed(TOGETHER),
    },
    "electra": {
        "alone: a bias left out": without(ALONE, "BiasAdd", 0),
        "together: a bias left out": without(TOGETHER, "BiasAdd", 0),
        "the projection without its bias": lambda m: [
            passes(nodes(function(m, *branch), "BiasAdd")[0]) for branch in (ALONE, TOGETHER)
        ],
    },
    "distilbert": {
        "alone: no softmax": without(ALONE, "Softmax", 0),
        "together: no softmax in a group": without(TOGETHER, "Softmax", 1),
    },
}  # fmt: skip


def cases(exports: tuple[str, ...], slow: tuple[str, ...] = ()) -> list[Any]:
    """All exports with their faults. Of the exports in ``slow``, all faults except one each are for slow tests."""
    return [
        pytest.param(export, fault, marks=pytest.mark.slow) if export in slow and at else (export, fault)
        for export in exports
        for at, fault in enumerate(FAULTS[export])
    ]


def refuse(of: Planted, export: str, fault: str, copy: Path) -> None:
    """Plant a fault in a copy of an export: it must be refused."""
    assert of.report(FAULTS[export][fault], copy).mismatches, "published"
