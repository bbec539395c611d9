"""The op gate, compared with TensorFlow itself; see data/make_op_graphs.py."""

from __future__ import annotations

import json
import lzma
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
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


def test_a_dtype_without_a_kernel_is_named() -> None:
    """TensorFlow's own error: No OpKernel was registered to support Op 'Relu' used by ... with these attrs."""
    string = graphs.chain("Relu", dtype=7)
    (problem,) = graphs.judge(string, "2.20")
    assert (problem.level, problem.kind) == ("error", "kernel")
    assert "the op Relu has no CPU kernel for T=string: node 'n1'" in problem.message
    assert f"no TensorFlow Serving release from 2.12 to {opsets.RELEASES[-1]} has it" in problem.message
    assert graphs.judge(graphs.chain("Relu", dtype=14), "2.20") == []


def test_a_kernel_that_later_releases_have_is_announced() -> None:
    """The second dtype, of the output, is the op's default."""
    drawn = graphs.chain("Multinomial", dtype=14)
    assert graphs.judge(drawn, "2.20") == []
    (problem,) = graphs.judge(drawn, "2.12")
    assert "the op Multinomial has no CPU kernel for T=bfloat16, output_dtype=int64" in problem.message
    assert re.search(r"TensorFlow Serving 2\.1[3-6] is the first that has it", problem.message)


def test_what_only_a_gpu_runs_is_a_warning_and_pinned_to_a_cpu_an_error() -> None:
    model = graphs.chain("CudnnRNNV3")
    assert [(each.level, each.kind) for each in graphs.judge(model, "2.20")] == [("warning", "kernel")]
    for node in model.meta_graphs[0].graph_def.node:
        node.device = "/device:CPU:0"
    assert [(each.level, each.kind) for each in graphs.judge(model, "2.20")] == [("error", "kernel")]


def test_a_dtype_that_the_caller_of_a_function_gives_is_not_judged() -> None:
    model = graphs.chain("Relu", dtype=7)
    model.meta_graphs[0].graph_def.node[1].attr["T"].placeholder = "T"
    assert graphs.judge(model, "2.20") == []


# The data.


ROOT = Path(__file__).parents[3]
DUMP_OPS = ROOT / "scripts" / "dump_ops.py"
DATA = ROOT / "exporter" / "targets" / "data"


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The ops that TensorFlow and tensorflow-text register in this environment."""
    file = tmp_path_factory.mktemp("ops") / "dump.json"
    code = (
        "import os, runpy, sys; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import tensorflow_text; "
        f"sys.argv = ['dump_ops.py', {str(file)!r}]; runpy.run_path({str(DUMP_OPS)!r}, run_name='__main__')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return json.loads(file.read_text(encoding="utf-8"))


def test_the_ops_of_this_tensorflow_made_anew_are_those_in_the_package(dumped: dict[str, Any]) -> None:
    """All except GPU kernels, which only the wheel for Linux on x86-64 has."""
    known = opsets.load(opsets.nearest(version("tensorflow")))
    assert known.graph_def_version == dumped["graph_def_version"]
    for name, op in dumped["ops"].items():
        assert known.ops[name].attrs == {attr: default for attr, (_, default) in op["attrs"].items()}, name
        assert known.ops[name].deprecated == op.get("deprecated"), name
        if (sys.platform, platform.machine()) == ("linux", "x86_64"):
            assert known.ops[name].kernels == {key: op[key] for key in ("cpu", "gpu") if key in op}, name
    # Only the ops of Decision Forests are missing in this environment.
    more = set(known.ops) - set(dumped["ops"])
    assert more
    assert all(name.startswith("SimpleML") for name in more), more


@pytest.mark.parametrize("release", opsets.RELEASES)
def test_every_release_has_ops_and_the_names_of_its_wheels(release: str) -> None:
    head = json.loads(lzma.decompress((DATA / f"{release}.tsv.xz").read_bytes()).partition(b"\n")[0])
    assert head["release"] == release
    assert opsets.order(head["tensorflow"]) == opsets.order(release)
    assert len(opsets.load(release).ops) > 1800


def test_releases_are_in_order_and_read_in_any_spelling() -> None:
    assert list(opsets.RELEASES) == sorted(opsets.RELEASES, key=opsets.order)
    assert "rc" not in opsets.NEWEST
    assert {each for each in opsets.RELEASES if opsets.order(each) > opsets.order(opsets.NEWEST)} == {
        each for each in opsets.RELEASES if "rc" in each
    }
    assert [opsets.nearest(each) for each in ("2.20", "2.20.0", "2.12.1")] == ["2.20", "2.20", "2.12"]
    assert opsets.nearest("9.9") == opsets.RELEASES[-1]
    assert opsets.order("2.22rc0") == opsets.order("2.22.0-rc0") < opsets.order("2.22rc1") < opsets.order("2.22.0")
    for wrong in ("2.11", "2", "newest", "2.20.x", "", "٢.٢٠"):
        with pytest.raises(ValueError, match="TensorFlow Serving"):
            opsets.nearest(wrong)


def test_releases_differ_where_they_are_known_to() -> None:
    for op, first in (("TFText>RoundRobinTrim", "2.20"), ("FastBertNormalize", "2.12"), ("MatMul", "2.12")):
        assert next(release for release in opsets.RELEASES if op in opsets.load(release).ops) == first
    assert "debug_name" in opsets.load("2.15").ops["VarHandleOp"].attrs
    assert "debug_name" not in opsets.load("2.14").ops["VarHandleOp"].attrs
    # Attributes in graphs of 2.21 that 2.20 ignores.
    assert "Tshape" in opsets.load("2.21").ops["TensorListGetItem"].attrs
    assert "Tshape" not in opsets.load("2.20").ops["TensorListGetItem"].attrs
    assert "SimpleMLInferenceOpWithHandle" in opsets.load("2.12").ops
