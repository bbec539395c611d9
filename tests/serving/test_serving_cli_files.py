"""``rawbert embed`` from file to file, interrupted and taken up again, and ``rawbert bench``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_server import Fake

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


@pytest.fixture
def server() -> Iterator[Fake]:
    with Fake() as server:
        yield server


def embed(server: Fake, *arguments: Any, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    command = [*RAWBERT, "embed", "--address", server.address, "--model", "m", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, **settings)


def write_input(path: Path, texts: list[str]) -> None:
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"id": list(range(len(texts))), "text": texts}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"id": at, "text": text}) + "\n" for at, text in enumerate(texts)))
    elif path.suffix == ".csv":
        path.write_text("id,text\n" + "".join(f'{at},"{text}"\n' for at, text in enumerate(texts)))
    else:
        path.write_text("".join(f"{text}\n" for text in texts))


def read_output(path: Path) -> tuple[list[str] | None, np.ndarray]:
    if path.suffix == ".npy":
        return None, np.load(path)
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        return table["text"].to_pylist(), np.array(table["embedding"].to_pylist(), np.float32)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row["text"] for row in rows], np.array([row["embedding"] for row in rows], np.float32)


@pytest.mark.parametrize("source", ["txt", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize("target", ["npy", "jsonl", "parquet"])
def test_every_form_there_and_back(server: Fake, tmp_path: Path, source: str, target: str) -> None:
    asked = [str(at) for at in range(3000)]
    write_input(tmp_path / f"in.{source}", asked)
    result = embed(server, "--input", tmp_path / f"in.{source}", "--output", tmp_path / f"out.{target}")
    assert result.returncode == 0, result.stderr
    texts, vectors = read_output(tmp_path / f"out.{target}")
    assert texts in (None, asked)
    assert vectors[:, 1].tolist() == list(range(3000))
    assert {path.name for path in tmp_path.iterdir()} == {f"in.{source}", f"out.{target}"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_an_interrupted_job_goes_on(server: Fake, tmp_path: Path, number: signal.Signals) -> None:
    server.before = lambda request: time.sleep(0.02)
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    asked = [str(at) for at in range(20_000)]
    write_input(source, asked)
    arguments = ["embed", "--address", server.address, "--model", "m", "--input", str(source), "--output", str(output)]
    partial = tmp_path / "out.jsonl.partial"
    for _ in range(2):
        before = partial.stat().st_size if partial.exists() else 0
        with subprocess.Popen([*RAWBERT, *arguments], stderr=subprocess.PIPE) as process:
            while not partial.exists() or partial.stat().st_size <= before:
                time.sleep(0.01)
                assert process.poll() is None
            process.send_signal(number)
            process.wait()
            assert process.returncode == (130 if number is signal.SIGINT else -9)
            assert process.stderr
            assert b"Traceback" not in process.stderr.read()
        assert not output.exists()
        with partial.open("ab") as file:
            file.write(b"\0\1\2")  # A row that was cut.
    server.before = lambda request: None
    server.sizes.clear()
    result = embed(server, "--input", source, "--output", output)
    assert result.returncode == 0, result.stderr
    assert b"going on after" in result.stderr
    assert 0 < sum(server.sizes) < 20_000
    texts, vectors = read_output(output)
    assert texts == asked
    assert vectors[:, 1].tolist() == list(range(20_000))


def test_a_job_from_another_input_is_not_taken_up(server: Fake, tmp_path: Path) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.npy"
    write_input(source, ["1", "two"])
    server.before = lambda request: time.sleep(0)
    (tmp_path / "out.npy.partial").write_bytes(np.float32([9, 9]).tobytes())
    (tmp_path / "out.npy.partial.json").write_text(json.dumps({"made_from": {}, "width": 2, "version": 1}))
    write_input(source, ["1", "2"])
    result = embed(server, "--input", source, "--output", output)
    assert (result.returncode, b"--restart" in result.stderr) == (1, True)
    assert embed(server, "--input", source, "--output", output, "--restart").returncode == 0
    assert np.load(output)[:, 1].tolist() == [1, 2]
    result = embed(server, "--input", source, "--output", output)
    assert (result.returncode, b"--overwrite" in result.stderr) == (1, True)


def test_from_standard_input_to_a_file(server: Fake, tmp_path: Path) -> None:
    assert embed(server, "--output", tmp_path / "out.jsonl", input=b"1\n2\n").returncode == 0
    assert read_output(tmp_path / "out.jsonl")[0] == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", "{}\n", "line 1: no object with the field 'text'"),
        ("a.jsonl", '{"text": "1"}\n{', "line 2: no JSON"),
        ("a.jsonl", '{"text": 1}\n', "is a int, not a text"),
        ("a.csv", "id,name\n1,2\n", "has the columns id, name, not 'text'"),
        ("a.parquet", "no parquet", "a.parquet"),
        ("a.xml", "", "must end in"),
    ],
)
def test_bad_files_are_named(server: Fake, tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    result = embed(server, "--input", tmp_path / name, "--output", tmp_path / "out.npy")
    assert result.returncode in (1, 2)
    assert says in result.stderr.decode()
    assert b"Traceback" not in result.stderr
    assert not (tmp_path / "out.npy").exists()


def test_bench(server: Fake, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("1\n2\n")
    command = [*RAWBERT, "bench", server.address, "--model", "m", "--input", str(tmp_path / "texts.txt")]
    command += ["--callers", "1,4", "--seconds", "0.5"]
    table = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert table.count("#") > 40
    results = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True, text=True).stdout)
    assert [each["callers"] for each in results] == [1, 4]
    for each in results:
        assert each["failed"] == 0
        assert 0 < each["p50"] <= each["p90"] <= each["p99"] <= each["longest"]
        assert each["calls_per_second"] > 10
