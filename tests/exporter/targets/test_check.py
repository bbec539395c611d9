"""``rawbert check`` and ``inspect``: findings in SavedModels of every kind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import pytest
from rawbert.exporter.publish.bundle import version_folder
from rawbert.exporter.targets import check as rules
from rawbert.exporter.targets import graph_hash, opsets, saved_model

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


def kinds(folder: Path, level: str = "error", target: str = "2.20") -> list[str]:
    return [finding.kind for finding in rules.check(folder, target) if finding.level == level]


@pytest.mark.parametrize("release", opsets.RELEASES)
def test_no_alarm_on_half_plus_two(tmp_path: Path, release: str) -> None:
    folder = graphs.place("half_plus_two", tmp_path / "1")
    findings = rules.check(folder, release)
    assert {finding.level for finding in findings} <= {"note"}
    assert {finding.kind for finding in findings} == {"warmup", "batching"}


def test_what_is_found(tmp_path: Path) -> None:
    assert kinds(graphs.place("round_robin_trim", tmp_path / "a"), target="2.19") == ["op"]
    assert kinds(graphs.place("round_robin_trim", tmp_path / "a"), target="2.20") == []
    assert kinds(graphs.place("xla_compiled", tmp_path / "b")) == ["xla"]
    assert "attribute" in kinds(graphs.place("variable_debug_name", tmp_path / "c"), "warning", "2.12")
    assert kinds(graphs.place("variable_debug_name", tmp_path / "c")) == ["variables"]
    scalar = graphs.write(graphs.chain("Relu", dims=()), tmp_path / "d")
    assert kinds(scalar, "warning") == ["batch-dimension"]
    (scalar / "batching_params.pbtxt").write_text("max_batch_size { value: 8 }", encoding="utf-8")
    assert kinds(scalar) == ["batch-dimension"]
    assert kinds(graphs.write(graphs.chain("Relu", dtype=2), tmp_path / "e"), "note")[0] == "dtype"
    assert "rest" in kinds(graphs.write(graphs.chain("Relu", dtype=19), tmp_path / "f"), "note")
    assert "rest" in kinds(graphs.place("normalize_utf8", tmp_path / "g"), "note")
    assert "rest" not in kinds(
        graphs.write(graphs.chain("StringLower", dtype=7, output="y_bytes"), tmp_path / "h"), "note"
    )


def test_xla_counts_where_a_signature_comes_to_it(tmp_path: Path) -> None:
    model = graphs.load("half_plus_two")
    graph = model.meta_graphs[0].graph_def
    compiled = graph.library.function.add()
    compiled.signature.name = "compiled"
    compiled.attr["_XlaMustCompile"].b = True
    aside = graph.node.add(name="aside", op="PartitionedCall")
    aside.attr["f"].func.name = "compiled"
    assert kinds(graphs.write(model, tmp_path / "aside")) == []
    (wrapper,) = (each for each in graph.library.function if "signature_wrapper" in each.signature.name)
    wrapper.node_def.add(name="within", op="PartitionedCall").attr["f"].func.name = "compiled"
    assert kinds(graphs.write(model, tmp_path / "called")) == ["xla"]


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_a_signature_that_names_a_tensor_which_the_graph_does_not_have(tmp_path: Path, side: str) -> None:
    model = graphs.chain("Relu")
    (info,) = getattr(model.meta_graphs[0].signature_def["serving_default"], side).values()
    info.name = "gone:0"
    assert kinds(graphs.write(model, tmp_path / side)) == ["signature"]


def test_the_newest_version_is_the_one_that_a_server_would_load(tmp_path: Path) -> None:
    graphs.write(graphs.chain("Relu"), tmp_path / "2")
    assert version_folder(tmp_path) == tmp_path / "2"
    (tmp_path / "10").mkdir()
    assert kinds(version_folder(tmp_path)) == ["no-saved-model"]
    for path in (tmp_path / "nowhere", tmp_path / "2" / "saved_model.pb", tmp_path / ("x" * 300)):
        assert version_folder(path) == path
        assert kinds(path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("enable_large_batch_splitting { value: true }", True),
        ("enable_large_batch_splitting: <\n value : true >", True),
        ("# enable_large_batch_splitting { value: true }", False),
        ("enable_large_batch_splitting { value: false }", False),
    ],
)
def test_large_batch_splitting_beside_a_dimension_that_depends_on_the_data(
    tmp_path: Path, text: str, found: bool
) -> None:
    for name, dims, risky in (("fixed", (-1, 3), False), ("ragged", (-1, -1), True)):
        folder = graphs.write(graphs.chain("Relu", dims=dims), tmp_path / name)
        (folder / "batching_params.pbtxt").write_text(text, encoding="utf-8")
        assert ("splitting" in kinds(folder)) == (found and risky)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "there\0not"])
def test_assets_outside_the_folder(tmp_path: Path, name: str) -> None:
    model = graphs.chain("Relu")
    model.meta_graphs[0].asset_file_def.add(filename=name)
    assert kinds(graphs.write(model, tmp_path / "1")) == ["asset"]


def test_a_file_larger_than_any_message(tmp_path: Path) -> None:
    with (tmp_path / "saved_model.pb").open("wb") as file:
        file.truncate(2**31)
    (finding,) = rules.check(tmp_path, "2.20")
    assert finding.kind == "damaged"
    assert "2147483648 bytes" in finding.message


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an asset removed": (lambda f: (f / "assets" / "vocab.txt").unlink(), "assets/vocab.txt is missing"),
    "a shard cut": (
        lambda f: os.truncate(f / "variables" / "variables.data-00000-of-00001", 1000), "cut short: it has 1000 bytes"
    ),
    "a shard removed": (
        lambda f: (f / "variables" / "variables.data-00000-of-00001").unlink(), "00000-of-00001 is missing"
    ),
    "the index removed": (lambda f: (f / "variables" / "variables.index").unlink(), "variables.index is missing"),
    "the index cut": (lambda f: os.truncate(f / "variables" / "variables.index", 100), "the end of a table"),
    "saved_model.pb cut": (lambda f: os.truncate(f / "saved_model.pb", 5000), "not a SavedModel, or cut short"),
    "saved_model.pb removed": (lambda f: (f / "saved_model.pb").unlink(), "no saved_model.pb in it"),
    "warmup records cut": (
        lambda f: os.truncate(f / "assets.extra" / "tf_serving_warmup_requests", 30), "no complete record at byte 0"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_bundle(tiny_bundle: Any, tmp_path: Path, fault: str) -> None:
    spoil, says = BROKEN[fault]
    folder = shutil.copytree(tiny_bundle.path, tmp_path / "1")
    assert kinds(folder) == []
    spoil(folder)
    errors = [finding.message for finding in rules.check(folder, "2.20") if finding.level == "error"]
    assert any(says in message for message in errors), errors


def _mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        kind = rng.randrange(4)
        at = rng.randrange(len(changed) or 1)
        if kind == 0:
            changed[at] = rng.randrange(256)
        elif kind == 1:
            del changed[at : at + rng.randrange(1, 200)]
        elif kind == 2:
            changed[at:at] = rng.randbytes(rng.randrange(1, 20))
        else:
            other = rng.randrange(len(changed) or 1)
            changed[at : at + 50] = changed[other : other + 50]
        if not changed:
            break
    return bytes(changed)


def _fuzz(folder: Path, count: int) -> int:
    """Check ``count`` damaged SavedModels; returns the number of those that could still be parsed."""
    rng = random.Random(count)
    names = ["three_functions_deep", "half_plus_two", "xla_compiled", "variable_debug_name", "bert_packed"]
    parsed = 0
    for at in range(count):
        data = graphs.archive()[f"{names[at % len(names)]}.pb"]
        damaged = rng.randbytes(rng.randrange(3000)) if at % 10 == 0 else _mutated(data, rng)
        (folder / "saved_model.pb").write_bytes(damaged)
        findings = rules.check(folder, rng.choice(opsets.RELEASES))
        assert all(isinstance(finding.message, str) for finding in findings)
        try:
            model = saved_model.read(folder)
        except saved_model.Unreadable:
            continue
        parsed += 1
        for meta_graph in model.meta_graphs:
            with contextlib.suppress(graph_hash.Unhashable):
                graph_hash.graph_hash(saved_model.Graph(meta_graph))
    return parsed


def test_damaged_files_are_no_traceback(tmp_path: Path) -> None:
    assert _fuzz(tmp_path, 300) >= 15


@pytest.mark.slow
def test_ten_thousand_damaged_files_are_no_traceback(tmp_path: Path) -> None:
    assert _fuzz(tmp_path, 10_000) >= 500


def test_damaged_indexes_are_no_traceback(tiny_bundle: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bundle.path, tmp_path / "1")
    index = folder / "variables" / "variables.index"
    data, rng = index.read_bytes(), random.Random(0)
    for _ in range(100):
        # The footer stays, or nothing behind it would be read.
        index.write_bytes(_mutated(data[:-48], rng) + data[-48:])
        rules.check(folder, "2.20")


# At the terminal.


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "150"}
    return subprocess.run([*RAWBERT, *arguments], capture_output=True, text=True, check=False, env=environment)


def test_at_the_terminal(tiny_bundle: Any, tmp_path: Path) -> None:
    done = run("check", str(tiny_bundle.base_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tiny_bundle.path}: no errors for TensorFlow Serving {opsets.NEWEST}\n"
    folder = graphs.place("three_functions_deep", tmp_path / "1")
    done = run("check", str(folder), "--target-serving", "2.16", "--json")
    assert done.returncode == 1
    state = json.loads(done.stdout)
    assert state["ok"] is False
    assert "RoundRobinTrim" in state["findings"][0]["message"]
    done = run("check", str(folder), "--target-serving", "2.16")
    assert "1 error for TensorFlow Serving 2.16" in done.stdout
    done = run("check", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for wrong in ("2.11", "newest"):
        assert run("check", str(folder), "--target-serving", wrong).returncode == 2


def test_a_newer_release_than_is_known_is_judged_by_the_newest_that_is(tiny_bundle: Any, tmp_path: Path) -> None:
    done = run("check", str(tiny_bundle.path), "--target-serving", "9.9", "--json")
    state = json.loads(done.stdout)
    assert (done.returncode, state["ok"], state["target_serving"]) == (0, True, "9.9")
    (finding,) = state["findings"]
    assert (finding["level"], finding["kind"]) == ("warning", "release")
    assert f"9.9 is unknown here; the findings apply to {opsets.RELEASES[-1]}" in finding["message"]
    found = rules.check(graphs.place("py_function", tmp_path), "9.9")
    assert [each.kind for each in found if each.level != "note"] == ["op", "release"]
    # An export must name a known release.
    done = run("export", str(tmp_path), "-o", str(tmp_path / "m"), "--target-serving", "9.9")
    assert done.returncode == 2
    assert f"9.9 is not known yet; use {opsets.RELEASES[-1]}" in done.stderr


def test_inspect(tiny_bundle: Any, tmp_path: Path) -> None:
    done = run("inspect", str(tiny_bundle.path), "--json")
    state = json.loads(done.stdout)
    assert state["signatures"]["embed"]["outputs"]["embedding"] == {
        "dtype": "float32",
        "shape": [-1, tiny_bundle.signatures["embed"][0].shape[1]],
    }
    assert state["content_hash"] == tiny_bundle.manifest["content_hash"]
    assert state["manifest"]["name"] == "bert"
    assert state["size"] == tiny_bundle.size
    assert "content" in run("inspect", str(tiny_bundle.path)).stdout
    done = run("inspect", str(tmp_path))
    assert done.returncode == 1
    assert "no saved_model.pb in it" in done.stderr


def test_it_needs_neither_tensorflow_nor_what_windows_lacks(tmp_path: Path) -> None:
    folder = graphs.place("half_plus_two", tmp_path / "1")
    code = (
        # On Linux, these two import fcntl themselves.
        "import asyncio, sys, subprocess; sys.argv[0] = 'rawbert'\n"
        "for name in ('fcntl', 'resource', 'termios', 'pwd', 'grp', 'tensorflow', 'transformers'):\n"
        "    sys.modules[name] = None\n"
        "from rawbert.serving.cli import main; main()"
    )
    for command in ("check", "inspect"):
        done = subprocess.run([sys.executable, "-c", code, command, str(folder)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
