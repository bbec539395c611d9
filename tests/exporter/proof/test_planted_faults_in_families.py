"""Faults planted in the special parts of RoBERTa, XLM-RoBERTa, CamemBERT and ALBERT: each must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted import (
    ALONE,
    TOGETHER,
    Fault,
    constant,
    entry,
    function,
    groups_swapped,
    input_of,
    nodes,
    other_epsilon,
    passes,
    positions_reversed,
    swapped,
    unmasked,
    without,
    wrapped,
)
from proofs import Planted
from test_planted_faults_in_heads import dropout, left_out, names_swapped, scores_moved, second_token, tags_moved
from tiny_families import folder_of

pytestmark = pytest.mark.slow

EXPORTS: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta": ("roberta.Sequence.1", {"signatures": ("score",)}),
    "xlm-roberta": ("xlm-roberta.Sequence.3", {"signatures": ("classify",), "pair": True}),
    "camembert": ("camembert.Token.5", {"signatures": ("tag",)}),
    "albert": ("albert.groups", {"signatures": ("sequence", "pooled"), "pair": True}),
}


def user(of: Any, node: Any, op: str) -> Any:
    """The first node of an op that takes another node's output."""
    return next(
        each for each in of.node_def if each.op == op and node.name in (name.partition(":")[0] for name in each.input)
    )


def counting(branch: tuple[str, ...], which: str, change: Callable[[Any, Any], Any]) -> Fault:
    """Change the counting of positions in a branch."""

    def plant(meta_graph: Any) -> None:
        of = function(meta_graph, *branch)
        (own,) = nodes(of, "NotEqual")
        for op in ("Cast", "Cumsum", "Mul", "AddV2"):
            if own.op != which:
                own = user(of, own, op)
        change(of, own)

    return plant


def first_row_earlier(branch: tuple[str, ...]) -> Fault:
    return counting(branch, "AddV2", lambda of, node: constant(input_of(of, node, 1), lambda x: x - 1))


def padding_counted(branch: tuple[str, ...]) -> Fault:
    return counting(branch, "NotEqual", lambda of, node: constant(input_of(of, node, 1), lambda x: x * 0 - 1))


def padding_placed(branch: tuple[str, ...]) -> Fault:
    return counting(branch, "Mul", lambda of, node: passes(node, 0))


def type_left_out(branch: tuple[str, ...]) -> Fault:
    """Leave the vector of the only token type out."""

    def plant(meta_graph: Any) -> None:
        of = function(meta_graph, *branch)
        words = nodes(of, "ResourceGather")[0]
        passes(user(of, user(of, words, "AddV2"), "AddV2"), 0)

    return plant


def calls(meta_graph: Any, branch: tuple[str, ...]) -> list[Any]:
    """The calls of a branch's layers, in order."""
    return nodes(function(meta_graph, *branch), "StatefulPartitionedCall")


def weights_of(branch: tuple[str, ...], layer: int, other: int) -> Fault:
    """Give a layer the weights of another one."""

    def plant(meta_graph: Any) -> None:
        found = calls(meta_graph, branch)
        found[layer].input[1:] = found[other].input[1:]

    return plant


def layer_left_out(branch: tuple[str, ...], layer: int) -> Fault:
    def plant(meta_graph: Any) -> None:
        found = calls(meta_graph, branch)
        found[layer + 1].input[0] = found[layer].input[0]

    return plant


def types_left_out(branch: tuple[str, ...]) -> Fault:
    def plant(meta_graph: Any) -> None:
        of = function(meta_graph, *branch)
        wrapped(of, nodes(of, "ResourceGather")[2], 1, "ZerosLike", T=3)

    return plant


def without_projections_bias(branch: tuple[str, ...]) -> Fault:
    return lambda m: passes(nodes(function(m, *branch), "BiasAdd")[0])


FAULTS: dict[str, dict[str, Fault]] = {
    "roberta": {
        "alone: positions begin a row earlier": first_row_earlier(ALONE),
        "together: positions begin a row earlier": first_row_earlier(TOGETHER),
        "alone: the padding's id is counted": padding_counted(ALONE),
        "together: the padding's id is counted": padding_counted(TOGETHER),
        "alone: the padding's id has a position": padding_placed(ALONE),
        "together: the padding's id has a position": padding_placed(TOGETHER),
        "alone: the vector of the type left out": type_left_out(ALONE),
        "alone: another epsilon": other_epsilon(ALONE, 1e-5),
        "head: the second token": second_token,
        "head: no tanh": left_out("score", "Tanh"),
        "head: no sigmoid": left_out("score", "Sigmoid"),
        "head: a bias left out": left_out("score", "BiasAdd"),
        "head: dropout left in": dropout("score"),
    },
    "xlm-roberta": {
        "alone: positions begin a row earlier": first_row_earlier(ALONE),
        "together: the padding's id is counted": padding_counted(TOGETHER),
        "together: the padding's id has a position": padding_placed(TOGETHER),
        "together: no GELU": without(TOGETHER, "Erfc", 0),
        "together: the mask of group 2 left out": unmasked(1),
        "together: groups swapped": groups_swapped,
        "alone: layers swapped": weights_of(ALONE, 1, 2),
        "head: no tanh": left_out("classify", "Tanh"),
        "head: no softmax": left_out("classify", "Softmax"),
        "head: two labels swapped": names_swapped("classify"),
        "head: dropout left in": dropout("classify"),
        "the texts of a pair swapped": entry("classify", swapped("inputs", "text", "text_pair")),
    },
    "camembert": {
        "alone: positions reversed": positions_reversed(ALONE),
        "together: positions begin a row earlier": first_row_earlier(TOGETHER),
        "alone: the padding's id is counted": padding_counted(ALONE),
        "together: the vector of the type left out": type_left_out(TOGETHER),
        "alone: no softmax": without(ALONE, "Softmax", 0),
        "together: a residual left out": without(TOGETHER, "AddV2", 4, 1),
        "together: a layer left out": layer_left_out(TOGETHER, 0),
        "head: tags off by one token": tags_moved,
        "head: scores off by one token": scores_moved,
        "head: two tags swapped": names_swapped("tag"),
        "head: a bias left out": left_out("tag", "BiasAdd"),
    },
    "albert": {
        "alone: the projection without its bias": without_projections_bias(ALONE),
        "together: the projection without its bias": without_projections_bias(TOGETHER),
        "alone: one group for all layers": weights_of(ALONE, 2, 0),
        "together: a group begins a layer late": weights_of(TOGETHER, 2, 1),
        "alone: a layer left out": layer_left_out(ALONE, 0),
        "together: a layer left out": layer_left_out(TOGETHER, 2),
        "alone: types left out": types_left_out(ALONE),
        "together: types left out": types_left_out(TOGETHER),
        "alone: another epsilon": other_epsilon(ALONE, 1e-5),
        "together: no GELU": without(TOGETHER, "Erfc", 0),
        "together: the mask of group 1 left out": unmasked(0),
        "pooled: no tanh": lambda m: passes(nodes(function(m, "_encode"), "Tanh")[0]),
        "pooled: a bias left out": lambda m: passes(nodes(function(m, "_encode"), "BiasAdd")[0]),
        "the texts swapped": entry("pooled", swapped("inputs", "text", "text_pair")),
    },
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Planted]:
    made: dict[str, Planted] = {}

    def of(name: str) -> Planted:
        if name not in made:
            model, settings = EXPORTS[name]
            folder = tmp_path_factory.mktemp("sound")
            made[name] = Planted(folder_of(model, folder / "source"), folder / "1", **settings)
        return made[name]

    return of


@pytest.mark.parametrize("export", EXPORTS)
def test_what_has_no_fault_is_accepted(planted: Callable[[str], Planted], export: str) -> None:
    assert len(FAULTS[export]) >= 10
    assert planted(export).sound().mismatches == []


@pytest.mark.parametrize(("export", "fault"), [(export, fault) for export in FAULTS for fault in FAULTS[export]])
def test_a_fault_in_the_graph_is_refused(
    planted: Callable[[str], Planted], tmp_path: Path, export: str, fault: str
) -> None:
    report = planted(export).report(FAULTS[export][fault], tmp_path / "1")
    assert report.mismatches, "published"
    assert report.calls, report.mismatches
