"""benchmarks/gpu.py: its plan, and its dry run."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu

ROOT = Path(__file__).parents[1]


def test_it_begins_with_the_standard_library_alone() -> None:
    tree = ast.parse((ROOT / "benchmarks" / "gpu.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


def test_what_is_measured() -> None:
    run = gpu.parse([])
    assert run.plan == gpu.Plan("cuda", ("MiniLM-L6", "BERT-base"), ("mixed", "full"), (1, 8, 32, 128, 512), 0.5, 10)
    titles = {each.title for each in gpu.CONTESTANTS}
    assert {f"rawbert/{each}" for each in ("float32", "tf32", "bfloat16", "float16")} <= titles
    assert {
        "torch-compiled/bfloat16",
        "torch-sdpa/bfloat16",
        "sentence-transformers/bfloat16",
        "onnxruntime/tf32",
    } <= titles
    assert gpu.CONTESTANTS[0].title == "sentence-transformers/float32"
    assert gpu.parse(["--device", "cpu", "--quick", "--minutes", "3"]).plan == gpu.Plan(**{
        **vars(gpu.QUICK), "minutes": 3
    })  # fmt: skip
    for each in gpu.CONTESTANTS:
        module, _, kind = each.peer.partition(":")
        assert hasattr(importlib.import_module(f"benchmarks.peers.{module}"), kind)


@pytest.mark.parametrize(
    "wrong", [["--device", "tpu"], ["--environment", "jax=/bin/sh"], ["--environment", "torch"], ["--minutes", "0"]]
)
def test_wrong_usage(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu.parse(wrong)
    assert ended.value.code == 2


def test_every_requirement_is_pinned_and_goes_without_cuda() -> None:
    found = gpu.groups("cuda")
    assert set(found) == {each.environment for each in gpu.CONTESTANTS} | {"weights"}
    lines = [line for lines in found.values() for line in lines if not line.startswith(".")]
    assert all(re.fullmatch(r"[\w-]+(\[[\w,-]+\])?==[\w.]+", line) for line in lines)
    assert "tensorflow[and-cuda]==2.21.0" in lines
    here = gpu.groups("cpu")
    assert "tensorflow==2.21.0" in here["tensorflow"]
    assert not any("cuda" in line or "gpu" in line for lines in here.values() for line in lines)


def test_what_fails_is_noted_and_the_rest_goes_on(tmp_path: Path) -> None:
    run = gpu.Run(gpu.QUICK, tmp_path, tmp_path / "results.json", {"tensorflow": sys.executable})

    def refuse() -> None:
        raise ValueError("on the CPU: MatMul")

    assert run.step("devices", refuse) is None
    assert (
        run.step("a process", lambda: run.call([sys.executable, "-c", "import sys; sys.exit('it broke')"], "log"))
        is None
    )
    assert run.step("another", lambda: run.call([sys.executable, "-c", "print(1)"], "log")) == "1\n"
    written = json.loads((tmp_path / "results.json").read_text())
    assert [each["step"] for each in written["failed"]] == ["devices", "a process"]
    assert "it broke" in written["failed"][1]["error"]
    assert run.wrong == ["devices failed", "a process failed"]
    cut = """print('@{"kind": "cells"}'); print('@{', end='', flush=True); raise SystemExit(1)"""
    assert run.step("cut short", lambda: run.call([sys.executable, "-c", cut], "cut")) is None
    assert gpu._told(run.output_of("cut").read_text()) == [{"kind": "cells"}]
    late = gpu.Run(gpu.Plan(minutes=0), tmp_path, tmp_path / "late.json", {})
    assert late.step("measure", lambda: pytest.fail("it began")) is None
    assert late.wrong == ["measure was left out"]
    assert json.loads((tmp_path / "late.json").read_text())["left_out"] == ["measure"]


@pytest.mark.slow
def test_a_dry_run_of_all_of_it(minilm_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the script's own environments, except those in RAWBERT_GPU_ENVIRONMENTS (NAME=PYTHON)."""
    given = [f"tensorflow={sys.executable}", *os.environ.get("RAWBERT_GPU_ENVIRONMENTS", "").split()]
    arguments = ["--device", "cpu", "--quick", "--work", str(tmp_path / "work"), "--output", str(tmp_path / "gpu.json")]
    monkeypatch.setattr(
        sys, "argv", ["gpu.py", *arguments, *(word for each in given for word in ("--environment", each))]
    )
    gpu.main()
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert (found["failed"], found["left_out"]) == ([], [])
    assert len(found["cells"]) == len(gpu.CONTESTANTS) * 2 * 2 * 2
    assert all(cell["texts_per_second"] > 0 and 0 < cell["p50_ms"] <= cell["p90_ms"] for cell in found["cells"])
    assert len(found["agreement"]) == len(gpu.CONTESTANTS) * 2
    assert all(each["agrees"] for each in found["agreement"])
    assert [each["mismatches"] for each in found["verified"]] == [[]] * 8
    assert all(each["ops"]["CPU"] and each["computes_on_cpu"] for each in found["placement"])  # there is no GPU
    assert "<svg" in (tmp_path / "gpu.svg").read_text()
