"""``rawbert classify``, ``tag`` and ``rerank`` with a server that answers by simple rules."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from command import Done, rawbert
from official_server import task_server
from rawbert.serving.cli import app
from watched import Refusal


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with task_server() as server:
        yield server.address


@pytest.fixture
def run(address: str) -> Any:
    def run(command: str, *arguments: str, given: str = "") -> Done:
        return rawbert(command, "--address", address, "--model", "m", *arguments, input=given.encode())

    return run


def lines(result: Done) -> list[dict[str, Any]]:
    assert result.returncode == 0, result.err
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_classify(run: Any) -> None:
    (good, bad) = lines(run("classify", "good good bad", "bad"))
    assert good == {
        "text": "good good bad", "label": "good", "score": 0.5, "scores": {"good": 0.5, "bad": 0.25, "neither": 0.25}
    }  # fmt: skip
    assert bad["label"] == "bad"
    (found,) = lines(run("classify", "--top-k", "1", given="good é\n"))
    assert (found["text"], found["scores"]) == ("good é", {"good": 0.5})
    (found,) = lines(run("classify", "--threshold", "0.6", given="good bad\n"))
    assert (found["label"], found["score"], found["scores"]) == ("good", 0.33333334, {})
    shown = run("classify", "--format", "text", "good good bad")
    assert shown.out == "good good bad\n  good 0.5000  bad 0.2500  neither 0.2500\n"


def test_classify_pairs_of_a_file(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"a": "good", "b": "bad bad", "id": at}) + "\n" for at in range(3)))
    found = lines(run("classify", "-i", str(path), "--column", "a", "--pair-column", "b", "--keep", "id"))
    assert [(each["id"], each["b"], each["label"]) for each in found] == [(at, "bad bad", "bad") for at in range(3)]


def test_tag(run: Any, address: str) -> None:
    text = "Ana met Bart Smith in Αθήνα 👍🏽"
    (found,) = lines(run("tag", text))
    names = ["Ana", "Bart Smith", "Αθήνα"]
    assert [text[each["start"] : each["end"]] for each in found["entities"]] == names
    assert [(each["label"], each["text"], each["score"]) for each in found["entities"]] == [
        ("NAME", name, pytest.approx(0.9)) for name in names
    ]
    assert found["truncated"] is False
    assert run("tag", "--format", "text", text).out == "Ana [NAME] met Bart Smith [NAME] in Αθήνα [NAME] 👍🏽\n"
    colored = (
        CliRunner().invoke(app.rawbert, ["tag", "-a", address, "-m", "m", "--format", "text", text], color=True).stdout
    )
    assert "\x1b[36m\x1b[1mAna\x1b[0m\x1b[36m [NAME]\x1b[0m met " in colored
    tokens = lines(run("tag", "--aggregation", "none", "Ana Smith"))[0]["entities"]
    assert [each["label"] for each in tokens] == ["B-NAME", "I-NAME", "I-NAME"]


def test_tag_says_what_was_cut(run: Any) -> None:
    text = "x " * 20 + "Ana"
    result = run("tag", text, "Bo")
    assert [len(each["entities"]) for each in lines(result)] == [0, 1]
    assert result.err == "cut 1 text to the model's maximum length; --stride covers the rest\n"
    result = run("tag", "--stride", "3", text)
    assert [each["text"] for each in lines(result)[0]["entities"]] == ["Ana"]
    assert not result.err


def test_rerank(run: Any, tmp_path: Path) -> None:
    found = lines(run("rerank", "the capital", "nothing", "the capital", "a capital"))
    assert [(each["text"], each["index"], each["score"]) for each in found] == [
        ("the capital", 1, 3.0), ("a capital", 2, 1.5), ("nothing", 0, 0.5)
    ]  # fmt: skip
    path = tmp_path / "found.csv"
    path.write_text("id,body\n1,nothing\n2,the capital\n")
    (first,) = lines(run("rerank", "the capital", "-i", str(path), "--column", "body", "--keep-all", "--top-k", "1"))
    assert first == {"text": "the capital", "id": "2", "index": 1, "score": 3.0}
    assert run("rerank", "a", "--format", "text", given="b\na\n").out == " 2.0000  a  [1]\n 0.5000  b  [0]\n"
    assert lines(run("rerank", "a", given="")) == []


def table(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return [{**row, **({"scores": dict(row["scores"])} if "scores" in row else {})} for row in rows]


def single(value: Any) -> Any:
    """The same with numbers as float32, as in Parquet."""
    if isinstance(value, dict):
        return {name: single(each) for name, each in value.items()}
    return [single(each) for each in value] if isinstance(value, list) else (
        np.float32(value) if isinstance(value, float) else value
    )  # fmt: skip


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("classify", ["--pair-column", "other"]),
        ("tag", ["--keep", "other", "--stride", "2"]),
        ("rerank", ["good Ana", "--keep", "other", "--top-k", "40"]),
    ],
)
def test_file_to_file_as_to_standard_output(
    run: Any, tmp_path: Path, command: str, arguments: list[str], ending: str
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / f"out.{ending}"
    words = ["good", "bad", "Ana Smith", "the", "中文", "é"]
    rows = [{"text": " ".join(words[: at % 7] * (at % 4)), "other": "bad" * (at % 2)} for at in range(100)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    wanted = lines(run(command, *arguments, "-i", str(source)))
    result = run(command, *arguments, "-i", str(source), "-o", str(target))
    assert result.returncode == 0, result.err
    assert result.err == f"{target}: 100 texts\n"
    assert len(wanted) == (40 if command == "rerank" else 100)
    found = table(target)
    assert [list(row) for row in found] == [list(row) for row in wanted]
    assert single(found) == single(wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.jsonl", target.name])
    assert "exists; replace it with --overwrite" in run(command, *arguments, "-i", str(source), "-o", str(target)).err


@pytest.mark.parametrize("command", ["classify", "tag", "rerank"])
def test_an_interrupted_job_goes_on(tmp_path: Path, command: str) -> None:
    """After a failure, only the remaining texts are sent, and the output equals that of an uninterrupted job."""
    arguments = ["good Ana"] if command == "rerank" else []
    source, target, whole = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "whole.jsonl"))
    rows = [{"text": f"good Ana {at} " * (at % 5)} for at in range(3000)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    calls = 0

    def before(request: Any) -> None:
        nonlocal calls
        calls += 1
        if broken and calls > 20:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "broken")

    with task_server(before=before) as server:

        def run(output: Path) -> Any:
            line = [command, "--address", server.address, "--model", "m", *arguments, "-i", source, "-o", output]
            return rawbert(*line, "--batch-size", 64, "--concurrency", 1)

        broken = True
        result = run(target)
        assert (result.returncode, target.exists()) == (1, False)
        assert "finished 1024 texts; the same command continues from there" in result.err
        # A record that was cut by the end of the process is made again.
        partial = tmp_path / "out.jsonl.partial"
        partial.write_bytes(partial.read_bytes()[:-5])
        broken, calls = False, 0
        result = run(target)
        assert result.returncode == 0, result.err
        assert result.err.splitlines()[0] == "continuing after 1023 texts"
        assert calls == 1 + 16 + 15  # of the 1 text left of the first 1024, of the next 1024, of the last 952
        assert run(whole).returncode == 0
        assert target.read_bytes() == whole.read_bytes()
    assert not partial.exists()


def test_another_job_into_the_same_file_is_refused(run: Any, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    made_from = {"aggregation": "first", "stride": None, "model": "m", "version": None, "version_label": None}
    head = json.dumps({"made_from": made_from, "width": 0, "version": 1})
    (tmp_path / "out.jsonl.partial").write_text(f"{head}\n{'0' * 32}{{}}\n")
    result = run("tag", "Ana", "-o", str(target))
    assert "belongs to an earlier run with another aggregation: start again with --restart" in result.err
    assert run("tag", "Ana", "-o", str(target), "--restart").returncode == 0
    assert table(target)[0]["entities"][0]["text"] == "Ana"


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        ("classify", ["a", "--keep", "id"], "lines of text have no columns to keep"),
        ("classify", ["a", "--pair-column", "b"], "lines of text have no columns to keep"),
        ("tag", ["a", "-o", "x.csv"], "x.csv: the name must end in .jsonl or .parquet"),
        ("tag", ["a", "-o", "nowhere/x.jsonl"], "there is no folder nowhere"),
        ("tag", ["a", "--restart"], "--restart and --overwrite need --output"),
        ("classify", ["a", "--top-k", "0"], "--top-k"),
        ("tag", ["x " * 20, "--stride", "14"], "stride is 14: give less than the model's limit of 14 tokens"),
        ("tag", ["a", "--aggregation", "best"], "'best' is not one of"),
        ("rerank", [], "Missing argument 'QUERY'"),
        ("classify", ["--input-format", "jsonl", "--keep", "label"], "'label' cannot be kept"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(run: Any, command: str, arguments: list[str], says: str) -> None:
    result = run(command, *arguments, given="{}\n")
    assert result.returncode in (1, 2)
    assert says in result.err
    assert "Traceback" not in result.err


def test_the_commands_load_no_tensorflow(address: str) -> None:
    code = (
        "import sys; from rawbert.serving.cli import _run; _run(); "
        "assert not {'tensorflow', 'pandas', 'rich'} & set(sys.modules)"
    )
    arguments = ["tag", "--address", address, "--model", "m", "Ana"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.err
    assert json.loads(done.stdout)["entities"][0]["text"] == "Ana"
