"""The content hash: equal for equal content in any form, different after every change."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
from rawbert.exporter.protos import SavedModel
from rawbert.exporter.targets import saved_model
from rawbert.exporter.targets.content_hash import content_hash
from rawbert.exporter.targets.graph_hash import Unhashable, graph_hash
from rawbert.exporter.targets.saved_model import Graph
from rawbert.exporter.targets.tensor_bundle import CorruptIndex


def hashes(folder: Path) -> dict[str, str]:
    return content_hash(folder, saved_model.read(folder).meta_graphs[0])


def hashed(model: Any) -> str:
    return graph_hash(Graph(model.meta_graphs[0]))


@pytest.fixture(scope="module")
def tiny_model(tiny_bundle: Any) -> Any:
    """An export of rawbert as a message. Tests change copies."""
    return saved_model.read(tiny_bundle.path)


def copy(model: Any) -> Any:
    return SavedModel.FromString(model.SerializeToString())


def bodies(model: Any) -> Iterator[Any]:
    """The nodes of the main graph, and of each function."""
    graph = model.meta_graphs[0].graph_def
    yield graph.node
    yield from (function.node_def for function in graph.library.function)


def find(model: Any, op: str, wanted: Callable[[Any], bool] = lambda node: True) -> Any:
    return next(node for nodes in bodies(model) for node in nodes if node.op == op and wanted(node))


# The same content.


def rewritten(model: Any, rng: random.Random) -> Any:
    """The same model in another form: other names of nodes, functions and arguments, in another order."""
    model = copy(model)
    graph = model.meta_graphs[0].graph_def
    functions = {each.signature.name: f"f{rng.random()}" for each in graph.library.function}

    def attributes(attrs: Any) -> None:
        for value in attrs.values():
            for call in (*([value.func] if value.HasField("func") else []), *value.list.func):
                call.name = functions.get(call.name, call.name)
                attributes(call.attr)

    def rename(nodes: Any, names: dict[str, str]) -> Callable[[str], str]:
        names.update((node.name, f"n{at}{rng.random()}") for at, node in enumerate(nodes))

        def new(reference: str) -> str:
            control, name = ("^", reference[1:]) if reference[:1] == "^" else ("", reference)
            name, colon, slot = name.partition(":")
            return f"{control}{names[name]}{colon}{slot}"

        for node in nodes:
            node.input[:] = map(new, node.input)
            node.name, node.op = names[node.name], functions.get(node.op, node.op)
            attributes(node.attr)
        shuffled = list(nodes)
        rng.shuffle(shuffled)
        copies = [type(node).FromString(node.SerializeToString()) for node in shuffled]
        del nodes[:]
        nodes.extend(copies)
        return new

    meta_graph = model.meta_graphs[0]
    new = rename(graph.node, {})
    for signature in meta_graph.signature_def.values():
        for info in (*signature.inputs.values(), *signature.outputs.values()):
            info.name = new(info.name)
    for asset in meta_graph.asset_file_def:
        asset.tensor_info.name = new(asset.tensor_info.name)
    saver = meta_graph.saver_def
    for field in ("filename_tensor_name", "save_tensor_name", "restore_op_name"):
        if getattr(saver, field):
            setattr(saver, field, new(getattr(saver, field)))
    for function in graph.library.function:
        signature = function.signature
        signature.name = functions[signature.name]
        arguments = {each.name: f"a{at}" for at, each in enumerate(signature.input_arg)}
        for each in signature.input_arg:
            each.name = arguments[each.name]
        new = rename(function.node_def, arguments)
        for results in (function.ret, function.control_ret):
            for key, reference in list(results.items()):
                results[key] = new(reference)
    order = [type(each).FromString(each.SerializeToString()) for each in graph.library.function]
    rng.shuffle(order)
    del graph.library.function[:]
    graph.library.function.extend(order)
    return model


@pytest.mark.parametrize("seed", range(3))
def test_names_and_order_do_not_count(tiny_model: Any, seed: int) -> None:
    again = rewritten(tiny_model, random.Random(seed))
    assert again != tiny_model
    assert hashed(again) == hashed(tiny_model)


@pytest.mark.parametrize("name", ["half_plus_two", "three_functions_deep", "bert_packed"])
def test_names_and_order_do_not_count_in_models_of_others(name: str) -> None:
    model = graphs.load(name)
    assert hashed(rewritten(model, random.Random(0))) == hashed(model)


def assert_same(one: Path, two: Path) -> None:
    """Weights, signatures and answers, bit by bit, as TensorFlow itself loads them."""
    import numpy as np
    import tensorflow as tf
    import tensorflow_text  # noqa: F401
    from rawbert.exporter.proof.samples import TEXTS

    readers = [tf.train.load_checkpoint(str(folder / "variables" / "variables")) for folder in (one, two)]
    names = [set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"} for reader in readers]
    assert names[0] == names[1]
    for name in names[0]:
        np.testing.assert_array_equal(*(reader.get_tensor(name) for reader in readers))
    first, second = (tf.saved_model.load(str(folder)).signatures for folder in (one, two))
    assert set(first) == set(second)
    for name in first:
        assert first[name].structured_input_signature == second[name].structured_input_signature
        answers = [signatures[name](text=tf.constant(TEXTS[:12])) for signatures in (first, second)]
        assert answers[0].keys() == answers[1].keys()
        for key, value in answers[0].items():
            np.testing.assert_array_equal(value, answers[1][key])


@pytest.mark.slow
def test_two_exports_of_a_checkpoint_have_one_hash(
    tiny_bundle: Any, hub_native_bundle: Any, data: Path, tmp_path: Path
) -> None:
    # The same export again, in another process and from a folder at another place.
    for part in ("tiny_bert", "tiny_pooling/mean_dense_normalize"):
        shutil.copytree(data / part, tmp_path / "copy", dirs_exist_ok=True)
    command = [sys.executable, "-c", "from rawbert.serving.cli import main; main()", "export", str(tmp_path / "copy")]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "two" / "m"), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    second = Path(json.loads(done.stdout)["path"])
    assert hashes(tiny_bundle.path) == hashes(second) == tiny_bundle.manifest["content_hash"]
    assert_same(tiny_bundle.path, second)
    assert hashes(tiny_bundle.path)["content"] != hashes(hub_native_bundle.path)["content"]


def test_tables_have_random_names() -> None:
    model = graphs.chain("LookupTableFindV2")
    nodes = model.meta_graphs[0].graph_def.node
    nodes.add(name="table", op="HashTableV2").attr["shared_name"].s = b"hash_table_1"
    nodes[1].input.append("table")
    wanted = hashed(model)
    nodes[2].attr["shared_name"].s = b"hash_table_2"
    assert hashed(model) == wanted


# Different content.


def swap(node: Any) -> None:
    node.input[0], node.input[1] = node.input[1], node.input[0]


def flip(node: Any, attr: str) -> None:
    node.attr[attr].b = not node.attr[attr].b


def two_inputs(node: Any) -> bool:
    return len(node.input) > 1 and node.input[0] != node.input[1]


def not_int64(node: Any) -> bool:
    return node.attr["DstT"].type != 9


def change_constant(model: Any) -> None:
    node = find(model, "Const", lambda node: len(node.attr["value"].tensor) > 10)
    data = bytearray(node.attr["value"].tensor)
    data[-1] ^= 1
    node.attr["value"].tensor = bytes(data)


def rename_output(model: Any) -> None:
    outputs = model.meta_graphs[0].signature_def["embed"].outputs
    outputs["vector"].CopyFrom(outputs["embedding"])
    del outputs["embedding"]


def rename_signature(model: Any) -> None:
    signatures = model.meta_graphs[0].signature_def
    signatures["embedding"].CopyFrom(signatures["embed"])
    del signatures["embed"]


def exchange_outputs(model: Any) -> None:
    outputs = model.meta_graphs[0].signature_def["tokenize"].outputs
    start, limit = outputs["start_offsets"], outputs["limit_offsets"]
    start.name, limit.name = limit.name, start.name


def exchange_signatures(model: Any) -> None:
    """Swap the functions of two signatures with the same arguments and the same kind of answer."""
    signatures = model.meta_graphs[0].signature_def
    nodes = {node.name: node for node in model.meta_graphs[0].graph_def.node}
    one, two = (
        nodes[signatures[name].outputs[output].name.partition(":")[0]]
        for name, output in (("embed", "embedding"), ("pooled", "pooled_output"))
    )
    first, second = one.attr["f"].func.name, two.attr["f"].func.name
    one.attr["f"].func.name, two.attr["f"].func.name = second, first


def other_slot(model: Any) -> None:
    node = find(model, "Identity", lambda node: any(":1" in each for each in node.input))
    node.input[0] = node.input[0].replace(":1", ":0")


def other_variable(model: Any) -> None:
    """Swap two variables of the same shape among the arguments of a signature's function."""
    call = find(model, "StatefulPartitionedCall", lambda node: len(node.input) > 3)
    shapes: dict[bytes, int] = {}
    nodes = {node.name: node for node in model.meta_graphs[0].graph_def.node}
    for at, name in enumerate(call.input):
        node = nodes.get(name)
        if node is not None and node.op == "VarHandleOp":
            other = shapes.setdefault(node.attr["shape"].SerializeToString(), at)
            if other != at:
                call.input[at], call.input[other] = call.input[other], call.input[at]
                return
    raise AssertionError("no two variables are alike")


def other_result(model: Any) -> None:
    function = next(each for each in model.meta_graphs[0].graph_def.library.function if len(set(each.ret.values())) > 1)
    (one, first), (two, second) = sorted(function.ret.items())[:2]
    function.ret[one], function.ret[two] = second, first


def restore_other(model: Any) -> None:
    model.meta_graphs[0].saver_def.restore_op_name = model.meta_graphs[0].saver_def.save_tensor_name


CHANGES: dict[str, Callable[[Any], object]] = {
    "inputs of Sub swapped": lambda model: swap(find(model, "Sub", two_inputs)),
    "inputs of MatMul swapped": lambda model: swap(find(model, "MatMul", two_inputs)),
    "inputs of an AddV2 swapped": lambda model: swap(find(model, "AddV2", two_inputs)),
    "transpose_b flipped": lambda model: flip(find(model, "MatMul"), "transpose_b"),
    "transpose_a flipped": lambda model: flip(find(model, "MatMul"), "transpose_a"),
    "an attribute gone": lambda model: find(model, "MatMul").attr.__delitem__("T"),
    "a dtype": lambda model: setattr(find(model, "Cast", not_int64).attr["DstT"], "type", 9),
    "another op": lambda model: setattr(find(model, "Sub"), "op", "Mul"),
    "a device": lambda model: setattr(find(model, "MatMul"), "device", "/device:CPU:0"),
    "a constant": change_constant,
    "an edge to another output": other_slot,
    "an edge from a node to another": lambda model: find(model, "Sub", two_inputs).input.__setitem__(
        0, find(model, "Sub", two_inputs).input[1]
    ),
    "a control edge gone": lambda model: find(
        model, "Identity", lambda node: any(each[0] == "^" for each in node.input)
    ).input.pop(),
    "two variables in each other's place": other_variable,
    "two functions in each other's place": exchange_signatures,
    "two results of a function": other_result,
    "a signature renamed": rename_signature,
    "an output renamed": rename_output,
    "two outputs exchanged": exchange_outputs,
    "an output's dtype": lambda model: setattr(
        model.meta_graphs[0].signature_def["embed"].outputs["embedding"], "dtype", 14
    ),
    "a method": lambda model: setattr(model.meta_graphs[0].signature_def["embed"], "method_name", "other"),
    "an asset's file": lambda model: setattr(model.meta_graphs[0].asset_file_def[0], "filename", "other.txt"),
    "a tag": lambda model: model.meta_graphs[0].meta_info_def.tags.append("gpu"),
    "the version that it asks for": lambda model: setattr(model.meta_graphs[0].graph_def.versions, "min_consumer", 13),
    "a version that it refuses": lambda model: model.meta_graphs[0].graph_def.versions.bad_consumers.append(1),
    "another op that restores": restore_other,
    "a node more": lambda model: model.meta_graphs[0].graph_def.node.add(name="more", op="NoOp"),
    "a function more": lambda model: model.meta_graphs[0].graph_def.library.function.add(signature={"name": "more"}),
}


def test_the_release_that_wrote_it_does_not_count(tiny_model: Any) -> None:
    model = copy(tiny_model)
    model.meta_graphs[0].graph_def.versions.producer += 186
    assert graph_hash(Graph(model.meta_graphs[0])) == graph_hash(Graph(tiny_model.meta_graphs[0]))


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_counts(tiny_model: Any, change: str) -> None:
    model = copy(tiny_model)
    CHANGES[change](model)
    assert model != tiny_model
    assert hashed(model) != hashed(tiny_model)


def test_any_attribute_of_any_node_counts(tiny_model: Any) -> None:
    rng, wanted = random.Random(0), hashed(tiny_model)
    from rawbert.exporter.targets.graph_hash import _UNSTABLE

    for _ in range(40):
        model = copy(tiny_model)
        node = rng.choice([node for nodes in bodies(model) for node in nodes if set(node.attr) - _UNSTABLE])
        attr = rng.choice(sorted(set(node.attr) - _UNSTABLE))
        del node.attr[attr]
        assert hashed(model) != wanted, (node.name, node.op, attr)


def test_a_byte_of_a_weight_or_of_an_asset_counts(tiny_bundle: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bundle.path, tmp_path / "1")
    before = hashes(folder)
    shard = next((folder / "variables").glob("*.data-*"))
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    weights = hashes(folder)
    assert {key for key in before if before[key] != weights[key]} == {"weights", "content"}
    (folder / "assets" / "vocab.txt").write_text("other", encoding="utf-8")
    assets = hashes(folder)
    assert {key for key in assets if assets[key] != weights[key]} == {"assets", "content"}
    shard.write_bytes(data[:1000])
    with pytest.raises(CorruptIndex, match="is cut short"):
        hashes(folder)


def test_the_scheme_is_named(tiny_bundle: Any) -> None:
    assert tiny_bundle.manifest["content_hash"]["content"].startswith("v3:")


def nested(op: str, name: str) -> Any:
    """A call of a function with an attribute that names another function, which has this op."""
    model = graphs.chain("Relu")
    graph = model.meta_graphs[0].graph_def
    function = graph.library.function.add()
    function.signature.name = name
    function.node_def.add(name="n", op=op)
    graph.library.function.add().signature.name = "outer"
    call = graph.node.add(name="call", op="PartitionedCall").attr["f"].func
    call.name = "outer"
    call.attr["g"].func.name = name
    return model


def test_a_function_within_the_attributes_of_a_call() -> None:
    assert hashed(nested("Relu", "a")) == hashed(nested("Relu", "z"))
    assert hashed(nested("Relu", "a")) != hashed(nested("Elu", "a"))


# Circles.


def loop(first: str, second: str) -> Any:
    """A graph of TensorFlow 1: a loop over two values, with the results ``first`` and ``second``."""
    model = graphs.chain("Relu")
    nodes = model.meta_graphs[0].graph_def.node
    for at, back in ((1, first), (2, second)):
        nodes.add(name=f"start{at}", op="Const").attr["value"].tensor = bytes([at])
        nodes.add(name=f"merge{at}", op="Merge", input=[f"start{at}", f"next{back}"])
        nodes.add(name=f"next{at}", op="NextIteration", input=[f"merge{at}"])
    return model


def test_a_loop_of_tensorflow_1() -> None:
    model = loop("1", "2")
    assert hashed(model) == hashed(rewritten(model, random.Random(0)))
    assert hashed(model) != hashed(loop("2", "1"))


def test_circles_are_an_error() -> None:
    model = graphs.chain("Relu", "Relu")
    model.meta_graphs[0].graph_def.node[1].input.append("n2")
    with pytest.raises(Unhashable, match="nodes read each other in a cycle: n"):
        hashed(model)
    model = graphs.chain("Relu")
    function = model.meta_graphs[0].graph_def.library.function.add()
    function.signature.name = "f"
    function.node_def.add(name="again", op="PartitionedCall").attr["f"].func.name = "f"
    with pytest.raises(Unhashable, match="functions call each other in a cycle: f"):
        hashed(model)
