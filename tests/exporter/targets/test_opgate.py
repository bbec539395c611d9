"""The op gate, held to what TensorFlow itself says: see data/make_op_graphs.py."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import graphs
import pytest
from rawbert.exporter.targets import opsets

TRUTH = [(release, name) for release, judged in graphs.truth().items() for name in judged]


@pytest.mark.parametrize(("release", "name"), TRUTH)
def test_a_graph_is_judged_as_tensorflow_judges_it(release: str, name: str) -> None:
    problems = graphs.judge(graphs.load(name), release)
    runs = "error" not in [problem.level for problem in problems]
    assert runs == graphs.truth()[release][name], problems


def test_the_truth_has_both_sides() -> None:
    judged = [runs for each in graphs.truth().values() for runs in each.values()]
    assert len(judged) >= 120
    assert judged.count(False) >= 30


def test_a_problem_names_node_function_callers_and_the_way_out() -> None:
    (problem,) = graphs.judge(graphs.load("three_functions_deep"), "2.16")[:1]
    said = problem.message
    assert "the op TFText>RoundRobinTrim is" in said
    assert re.search(r": node '[^']+' of function \w*third\w*, reached by [^;]+ > [^;]+ > [^;]+;", said)
    for part in ("not registered", "2.20 is the first that has it", "WaterfallTrimmer"):
        assert part in said


def test_an_unknown_attribute_is_named_and_ignored_by_the_release() -> None:
    (problem,) = graphs.judge(graphs.load("variable_debug_name"), "2.12")
    assert (problem.level, problem.kind) == ("warning", "attribute")
    assert "the op VarHandleOp has no attribute debug_name" in problem.message
    assert "2.15 is the first that has it" in problem.message
    assert graphs.judge(graphs.load("variable_debug_name"), "2.15") == []


def test_a_function_that_nothing_calls_is_not_held_against_a_graph() -> None:
    model = graphs.load("half_plus_two")
    graph = model.meta_graphs[0].graph_def
    unused = graph.library.function.add()
    unused.signature.name = "unused"
    unused.node_def.add(name="x", op="NoSuchOp")
    assert graphs.judge(model, "2.20") == []
    graph.node.add(name="call", op="PartitionedCall").attr["f"].func.name = "unused"
    (problem,) = graphs.judge(model, "2.20")
    assert "the op NoSuchOp is not registered" in problem.message


def test_deprecated_ops_and_versions_out_of_range() -> None:
    (problem,) = graphs.judge(graphs.chain("BatchNormWithGlobalNormalization"), "2.20")[:1]
    assert "refused in graphs of version" in problem.message
    late = graphs.chain("Relu")
    late.meta_graphs[0].graph_def.versions.min_consumer = 99_999
    assert "GraphDef version 99999 or later" in graphs.judge(late, "2.20")[0].message


@pytest.mark.parametrize("bundle", ["tiny_bundle", "hub_bundle", "hub_native_bundle"])
def test_no_false_alarm_on_our_own_exports(bundle: str, request: pytest.FixtureRequest) -> None:
    from rawbert.exporter.targets import check

    folder = request.getfixturevalue(bundle).path
    for release in opsets.RELEASES:
        assert check.check(folder, release) == []


# The data.


MAKE_OPS = Path(__file__).parents[3] / "scripts" / "make_ops.py"


def _make_ops() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_ops", MAKE_OPS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the TensorFlow of this environment, 2.20, registers, tensorflow-text included."""
    file = tmp_path_factory.mktemp("ops") / "dump.json"
    code = (
        "import os, runpy, sys; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import tensorflow_text; "
        f"sys.argv = ['make_ops.py', 'dump', {str(file)!r}]; runpy.run_path({str(MAKE_OPS)!r}, run_name='__main__')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return json.loads(file.read_text(encoding="utf-8"))


def test_the_ops_of_2_20_made_anew_are_those_in_the_package(dumped: dict[str, Any]) -> None:
    known = opsets.load("2.20")
    assert known.graph_def_version == dumped["graph_def_version"]
    for name, op in dumped["ops"].items():
        assert known.ops[name].attrs == {attr: default for attr, (_, default) in op["attrs"].items()}, name
        assert known.ops[name].deprecated == op.get("deprecated"), name
    # What Decision Forests add is all that is not there.
    more = set(known.ops) - set(dumped["ops"])
    assert more
    assert all(name.startswith("SimpleML") for name in more), more


def test_releases_differ_where_they_are_known_to() -> None:
    for op, first in (("TFText>RoundRobinTrim", "2.20"), ("FastBertNormalize", "2.12"), ("MatMul", "2.12")):
        assert opsets.releases_with(op)[0] == first
    assert opsets.releases_with("VarHandleOp", "debug_name")[0] == "2.15"
    assert "SimpleMLInferenceOpWithHandle" in opsets.load("2.12").ops
