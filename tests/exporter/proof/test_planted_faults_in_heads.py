"""Faults planted in the heads of fine-tuned models: each must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fine_tuned import folder_of
from planted import ALONE, TOGETHER, constant, entry, function, nodes, passes, swapped, wrapped
from proofs import Planted

EXPORTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "classify": ("bert.Sequence.77", {}, {"signatures": ("classify",), "pair": True}),
    "multi-label": (
        "distilbert.Sequence.77", {"problem_type": "multi_label_classification"}, {"signatures": ("classify",)},
    ),
    "tag": ("bert.Token.9", {}, {"signatures": ("tag",)}),
    "score": ("electra.Sequence.1", {}, {"signatures": ("score",)}),
    "rerank": (
        "mpnet.Sequence.1", {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
        {"signatures": ("score",)},
    ),
}  # fmt: skip


#: Op -> name of its output, if that is not "output".
_PORTS = {"GreaterEqual": "z", "Cast": "y", "Mul": "z"}


def added(of: Any, op: str, name: str, inputs: list[str], **attributes: Any) -> str:
    """Add a node to a function; returns its first output."""
    node = of.node_def.add(name=name, op=op, input=inputs)
    for key, value in attributes.items():
        if isinstance(value, np.ndarray):
            import tensorflow as tf

            node.attr[key].tensor.CopyFrom(tf.make_tensor_proto(value))
        else:
            node.attr[key].type = value
    return f"{name}:{_PORTS.get(op, 'output')}:0"


def const(of: Any, name: str, value: np.ndarray) -> str:
    import tensorflow as tf

    return added(of, "Const", name, [], value=value, dtype=tf.as_dtype(value.dtype).as_datatype_enum)


def rolled(of: Any, node: Any, at: int, kind: int, axis: int = 1) -> None:
    """Shift one of a node's inputs by one along an axis."""
    name = f"{node.name}_rolled"
    by = [const(of, f"{name}_{what}", np.array([value], np.int32)) for what, value in (("by", 1), ("axis", axis))]
    node.input[at] = added(of, "Roll", name, [node.input[at], *by], T=kind, Tshift=3, Taxis=3)


def op_is(name: str, op: str, new: str) -> Callable[[Any], None]:
    """Replace an operation."""

    def plant(meta_graph: Any) -> None:
        of = function(meta_graph, name)
        node = nodes(of, op)[0]
        node.op = new
        ports = {"Softmax": "softmax", "Sigmoid": "y"}
        if new in ports:
            before, after = (f"{node.name}:{ports[each]}:0" for each in (op, new))
            for each in of.node_def:
                each.input[:] = [after if reference == before else reference for reference in each.input]

    return plant


def left_out(name: str, op: str, which: int = 0, at: int = 0) -> Callable[[Any], None]:
    return lambda m: passes(nodes(function(m, name), op)[which], at)


def names_swapped(name: str) -> Callable[[Any], None]:
    """Swap the first two names everywhere."""

    def plant(meta_graph: Any) -> None:
        of = function(meta_graph, name)
        for node in [each for each in nodes(of, "Const") if each.attr["dtype"].type == 7]:
            constant(node, lambda x: x if x.size < 2 else np.concatenate([x[1::-1], x[2:]]))

    return plant


def dropout(name: str) -> Callable[[Any], None]:
    """Apply dropout with a rate of 0.1 to the input of the last layer, as in training."""

    def plant(meta_graph: Any) -> None:
        of = function(meta_graph, name)
        node = nodes(of, "MatMul")[-1]
        taken = node.input[0]
        shape = added(of, "Shape", "dropout_shape", [taken], T=1, out_type=3)
        noise = added(of, "RandomUniform", "dropout_noise", [shape], T=3, dtype=1)
        keeps = added(of, "GreaterEqual", "dropout_keeps", [noise, const(of, "rate", np.float32([[0.1]]))], T=1)
        keeps = added(of, "Cast", "dropout_mask", [keeps], SrcT=10, DstT=1)
        scaled = added(of, "Mul", "dropout_scaled", [keeps, const(of, "scale", np.float32([[1 / 0.9]]))], T=1)
        node.input[0] = added(of, "Mul", "dropout", [taken, scaled], T=1)

    return plant


def without_pooler(meta_graph: Any) -> None:
    for op in ("Tanh", "BiasAdd", "MatMul"):
        passes(nodes(function(meta_graph, "_encode"), op)[0])


def types_ignored(meta_graph: Any) -> None:
    for branch in (ALONE, TOGETHER):
        of = function(meta_graph, *branch)
        wrapped(of, nodes(of, "ResourceGather")[2], 1, "ZerosLike", T=3)


def tags_moved(meta_graph: Any) -> None:
    of = function(meta_graph, "tag")
    (node,) = (each for each in nodes(of, "SelectV2") if each.attr["T"].type == 7)
    rolled(of, node, 1, 7)


def scores_moved(meta_graph: Any) -> None:
    of = function(meta_graph, "tag")
    rolled(of, nodes(of, "Softmax")[0], 0, 1)


def lengths_off(meta_graph: Any) -> None:
    for node in nodes(function(meta_graph, "tag"), "Const"):
        if node.attr["dtype"].type == 3:
            constant(node, lambda x: x + 1 if x.size > 90 else x)


def second_token(meta_graph: Any) -> None:
    """Use the second token's vector in place of the first one's."""
    of = function(meta_graph, "score")
    node = nodes(of, "StridedSlice")[0]
    for at, by in ((1, 1), (2, 1)):
        name = node.input[at].partition(":")[0]
        constant(
            next(each for each in of.node_def if each.name == name),
            lambda x, by=by: x + np.eye(len(x), dtype=x.dtype)[1] * by,
        )


FAULTS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "classify": {
        "two labels swapped": names_swapped("classify"),
        "sigmoid for softmax": op_is("classify", "Softmax", "Sigmoid"),
        "no softmax": left_out("classify", "Softmax"),
        "the lowest label": op_is("classify", "ArgMax", "ArgMin"),
        "the pooler left out": without_pooler,
        "the pooler without tanh": left_out("_encode", "Tanh"),
        "the bias of the last layer left out": left_out("classify", "BiasAdd"),
        "dropout left in": dropout("classify"),
        "types of the pair ignored": types_ignored,
        "the texts of a pair swapped": entry("classify", swapped("inputs", "text", "text_pair")),
    },
    "multi-label": {
        "softmax for sigmoid": op_is("classify", "Sigmoid", "Softmax"),
        "no ReLU": left_out("classify", "Relu"),
        "two labels swapped": names_swapped("classify"),
    },
    "tag": {
        "tags off by one token": tags_moved,
        "scores and tags off by one token": scores_moved,
        "tags at special tokens": lambda m: [
            passes(each, 1) for each in nodes(function(m, "tag"), "SelectV2") if each.attr["T"].type == 7
        ],
        "scores in padding": lambda m: [
            passes(each, 1) for each in nodes(function(m, "tag"), "SelectV2") if each.attr["T"].type == 1
        ],
        "two tags swapped": names_swapped("tag"),
        "no softmax": left_out("tag", "Softmax"),
        "lengths of tokens off by one": lengths_off,
    },
    "score": {
        "no sigmoid": left_out("score", "Sigmoid"),
        "ReLU for GELU": lambda m: passes(nodes(function(m, "score"), "Erfc")[0]),
        "the second token": second_token,
        "dropout left in": dropout("score"),
    },
    "rerank": {
        "no tanh": left_out("score", "Tanh"),
        "the texts of a pair swapped": entry("score", swapped("inputs", "text", "text_pair")),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Planted]:
    made: dict[str, Planted] = {}

    def of(name: str) -> Planted:
        if name not in made:
            model, config, settings = EXPORTS[name]
            folder = tmp_path_factory.mktemp("sound")
            source = folder_of(model, folder / "source", **config)
            made[name] = Planted(source, folder / "1", max_seq_length=16, **settings)
        return made[name]

    return of


@pytest.mark.parametrize("export", EXPORTS)
def test_what_has_no_fault_is_accepted(planted: Callable[[str], Planted], export: str) -> None:
    assert planted(export).sound().mismatches == []


@pytest.mark.parametrize(("export", "fault"), [(export, fault) for export in FAULTS for fault in FAULTS[export]])
def test_a_fault_in_the_graph_is_refused(
    planted: Callable[[str], Planted], tmp_path: Path, export: str, fault: str
) -> None:
    report = planted(export).report(FAULTS[export][fault], tmp_path / "1")
    assert report.mismatches, "published"
    assert report.calls, report.mismatches
