"""Faults planted in the special parts of ModernBERT and DeBERTa: each must be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import ALONE, TOGETHER, called, constant, constants, function, input_of, nodes, passes, unmasked
from proofs import Loaded, Planted
from random_encoders import RandomModel

pytestmark = pytest.mark.slow

EXPORTS = {"modernbert": "modernbert.base", "deberta": "deberta-v2.v2_xlarge", "nomic": "nomic_bert.base"}
Weights = dict[str, np.ndarray]
Fault = Callable[[Any], Any]


# In the graph.


def in_branches(plant: Fault, *branches: tuple[str, ...]) -> Fault:
    """Plant a fault in the function of both branches, or of one."""
    return lambda m: [plant(function(m, *branch)) for branch in branches or (ALONE, TOGETHER)] and None


def in_layers(branch: tuple[str, ...], plant: Fault) -> Fault:
    """Plant a fault in the functions of a branch's layers; there is one function for each kind of layer."""
    return lambda m: [plant(each) for each in called(m, function(m, *branch)) if has(each, "Softmax")] and None


def has(of: Any, op: str) -> bool:
    return op in {node.op for node in of.node_def}


def left_out(op: str, which: int = 0, at: int = 0) -> Fault:
    return lambda of: passes(nodes(of, op)[which], at)


def window(by: float) -> Fault:
    def plant(of: Any) -> None:
        for node in (each for each in constants(of, 4.0) if each.attr["dtype"].type == 1):
            constant(node, lambda x: x + by)

    return in_branches(plant)


def residual(of: Any) -> None:
    """Leave out the first residual connection of a layer."""
    passes(next(node for node in nodes(of, "AddV2") if node.input[0] == of.signature.input_arg[0].name), 1)


def made_by(of: Any, node: Any, op: str, *inputs: int) -> bool:
    """Whether these inputs of a node come from an operation."""
    makers = {each.name for each in of.node_def if each.op == op}
    return all(node.input[at].partition(":")[0] in makers for at in inputs)


def turn(of: Any) -> None:
    """Leave out the rotation of the first half of queries and keys."""
    passes(next(node for node in nodes(of, "Sub") if made_by(of, node, "Mul", 0, 1)))


def gate(of: Any) -> None:
    """Leave out the product with the second half of the first feed-forward layer's output, the gate."""
    split = [node.name for node in nodes(of, "Split") if node.attr["num_split"].i == 2][-1]
    passes(next(node for node in nodes(of, "Mul") if f"{split}:output:1" in node.input), 0)


def local_mask(of: Any) -> None:
    """Leave out the padding mask in one group's local layers."""
    passes([node for node in nodes(of, "AddV2") if made_by(of, node, "SelectV2", 0)][1], 0)


def beyond_texts(of: Any) -> None:
    """Give the convolution some token after the end of a text."""
    for node in nodes(of, "SelectV2"):
        if node.attr["T"].type == 1 and input_of(of, node, 2) in constants(of, 0.0):
            passes(node, 1)


def off_by_one(of: Any) -> None:
    """Look up the vector of the next distance."""
    for node in nodes(of, "Const"):
        shape = node.attr["value"].tensor.tensor_shape
        if [each.size for each in shape.dim] == [128]:
            constant(node, lambda x: np.clip(x + 1, 0, 15))


GRAPH: dict[str, dict[str, Fault]] = {
    "modernbert": {
        "a window that is one wider": window(1.0),
        "a window that is one narrower": window(-1.0),
        "no window": window(1e6),
        "alone: a residual left out": in_layers(ALONE, residual),
        "together: a residual left out": in_layers(TOGETHER, residual),
        "together: a mask left out of local layers": in_branches(local_mask, TOGETHER),
        "alone: no softmax": in_layers(ALONE, left_out("Softmax")),
        "alone: a half not turned": in_layers(ALONE, turn),
        "together: a half not turned": in_layers(TOGETHER, turn),
        "alone: no gate": in_layers(ALONE, gate),
        "together: no gate": in_layers(TOGETHER, gate),
        "the variance for its root at the end": in_branches(left_out("Rsqrt", -1)),
    },
    "deberta": {
        "alone: distances from the key": in_layers(ALONE, left_out("Transpose")),
        "together: distances from the key": in_layers(TOGETHER, left_out("Transpose")),
        "the convolution sees beyond texts": in_branches(beyond_texts),
        "the convolution without its activation": in_branches(left_out("Erfc", -1)),
        "distances off by one": in_branches(off_by_one),
        "together: the mask of group 2 left out": unmasked(1),
    },
    "nomic": {
        "alone: no gate": in_layers(ALONE, gate),
        "together: no gate": in_layers(TOGETHER, gate),
        "alone: a half not turned": in_layers(ALONE, turn),
        "together: a residual left out": in_layers(TOGETHER, residual),
        "together: no softmax in a group": in_layers(TOGETHER, left_out("Softmax", 2)),
        "together: the mask of group 1 left out": unmasked(0),
    },
}


# In the weights.


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Weights], None]:
    """Change the variables whose names end like this."""

    def plant(weights: Weights) -> None:
        found = [key for key in weights if key.endswith(name)]
        assert found, f"no {name} in {list(weights)}"
        for key in found:
            weights[key][...] = change(weights[key].copy())

    return plant


def exchanged(one: str, other: str) -> Callable[[Weights], None]:
    def plant(weights: Weights) -> None:
        keys = [next(key for key in weights if key.endswith(name)) for name in (one, other)]
        weights[keys[0]][...], weights[keys[1]][...] = weights[keys[1]].copy(), weights[keys[0]].copy()

    return plant


def halves(x: np.ndarray) -> np.ndarray:
    return np.concatenate(np.split(x, 2, axis=-1)[::-1], axis=-1)


def sines(x: np.ndarray) -> np.ndarray:
    x[:, x.shape[1] // 2 :] *= -1
    return x


def queries(by: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(x: np.ndarray) -> np.ndarray:
        x[:, : x.shape[1] // 3] *= by
        return x

    return change


def taps(x: np.ndarray) -> np.ndarray:
    return np.concatenate(np.split(x, 3)[::-1])


def skipped(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x[:1], x[2:], x[-1:]])


VARIABLES: dict[str, dict[str, Callable[[Weights], None]]] = {
    "modernbert": {
        "the thetas exchanged": exchanged("rotary/160000.0", "rotary/10000.0"),
        "turned the other way": changed("rotary/10000.0", sines),
        "activation and gate exchanged": changed("layer_1/intermediate/kernel", halves),
        "queries not divided": changed("layer_4/attention/qkv/kernel", queries(8**0.5)),
        "a position skipped": changed("rotary/160000.0", skipped),
    },
    "deberta": {
        "keys and queries of distances exchanged": exchanged(
            "layer_1/attention/distance_keys/rows", "layer_1/attention/distance_queries/rows"
        ),
        "keys of distances the other way": changed("layer_2/attention/distance_keys/rows", lambda x: x[:, ::-1]),
        "queries of distances the other way": changed("layer_3/attention/distance_queries/rows", lambda x: x[:, ::-1]),
        "queries of distances not divided": changed("layer_1/attention/distance_queries/rows", lambda x: x * 30**0.5),
        "queries divided by sqrt(D) alone": changed("layer_0/attention/qkv/kernel", queries(3**0.5)),
        "two ranges share a vector": changed(
            "layer_0/attention/distance_keys/rows", lambda x: x[:, [0, 2, *range(2, 16)]]
        ),
        "the convolution from the right to the left": changed("convolution/kernel", taps),
    },
    "nomic": {
        "turned the other way": changed("rotary/1000.0", sines),
        "a position skipped": changed("rotary/1000.0", skipped),
        "activation and gate exchanged": changed("layer_0/intermediate/kernel", halves),
        "queries not divided": changed("layer_2/attention/qkv/kernel", queries(8**0.5)),
    },
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Planted]:
    made = {}
    for name, model in EXPORTS.items():
        folder = tmp_path_factory.mktemp(name)
        source = RandomModel(model).folder(folder / "source")
        made[name] = Planted(source, folder / "1", signatures=("sequence",))
    return made


@pytest.fixture(scope="module")
def loaded(planted: dict[str, Planted]) -> Iterator[dict[str, Loaded]]:
    models = {name: Loaded(each) for name, each in planted.items()}
    yield models
    for each in models.values():
        each.model.close()


@pytest.mark.parametrize("export", EXPORTS)
def test_what_has_no_fault_is_accepted(loaded: dict[str, Loaded], export: str) -> None:
    assert loaded[export].report(lambda weights: None).mismatches == []


@pytest.mark.parametrize(("export", "fault"), [(export, fault) for export in GRAPH for fault in GRAPH[export]])
def test_a_fault_in_the_graph_is_refused(planted: dict[str, Planted], tmp_path: Path, export: str, fault: str) -> None:
    report = planted[export].report(GRAPH[export][fault], tmp_path / "1")
    assert report.mismatches, "published"
    assert report.calls, report.mismatches


@pytest.mark.parametrize(("export", "fault"), [(export, fault) for export in VARIABLES for fault in VARIABLES[export]])
def test_a_fault_in_the_weights_is_refused(loaded: dict[str, Loaded], export: str, fault: str) -> None:
    assert loaded[export].report(VARIABLES[export][fault]).mismatches, "published"
