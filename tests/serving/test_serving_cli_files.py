"""``rawbert embed`` from file to file, interrupted and taken up again, and ``rawbert bench``."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import grpc
import numpy as np
import pytest
from fake_server import Fake, Refusal

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


@pytest.fixture
def server() -> Iterator[Fake]:
    with Fake() as server:
        yield server


def embed(
    server: Fake, *arguments: Any, limit: int | None = None, **settings: Any
) -> subprocess.CompletedProcess[bytes]:
    command = [*RAWBERT, "embed", "--address", server.address, "--model", "m", *map(str, arguments)]
    return subprocess.run(limited(command, limit), capture_output=True, check=False, **settings)


def limited(command: list[str], size: int | None) -> list[str]:
    """The command, with files of at most so many bytes.

    A process of its own sets the limit: ``preexec_fn`` would fork this one, in which gRPC has threads.
    """
    if size is None:
        return command
    limit = "import os, resource as r, sys; r.setrlimit(r.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); "
    return [sys.executable, "-c", f"{limit}os.execv(sys.argv[2], sys.argv[2:])", str(size), *command]


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


def test_from_standard_input_and_arguments_to_a_file(server: Fake, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert embed(server, "--output", output, input=b"1\n2\n").returncode == 0
    assert read_output(output)[0] == ["1", "2"]
    assert embed(server, "--output", output, "--overwrite", "3", "4").returncode == 0
    assert read_output(output)[0] == ["3", "4"]
    assert {path.name for path in tmp_path.iterdir()} == {"out.jsonl"}


def test_a_job_from_standard_input_goes_on_with_the_same_input(server: Fake, tmp_path: Path) -> None:
    def fail(request: Any) -> None:
        if sum(server.sizes) > 1500:
            raise Refusal(grpc.StatusCode.INTERNAL, "it broke")

    lines = "".join(f'{{"text": "{at}", "id": {at * 7}}}\n' for at in range(3000)).encode()
    arguments = ["--input-format", "jsonl", "--keep", "id", "--output", tmp_path / "out.jsonl"]
    server.before = fail
    result = embed(server, *arguments, input=lines)
    assert (result.returncode, b"the same command goes on" in result.stderr) == (1, True)
    server.before = lambda request: None
    result = embed(server, *arguments, input=b'{"text": "7", "id": 0}\n')
    assert (result.returncode, b"with another input" in result.stderr) == (1, True)
    server.sizes.clear()
    result = embed(server, *arguments, input=lines)
    assert result.returncode == 0, result.stderr
    assert b"going on after" in result.stderr
    assert sum(server.sizes) < 3000
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["text"], row["id"], row["embedding"][1]) for row in rows] == [
        (str(at), at * 7, at) for at in range(3000)
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"out.jsonl"}


def test_columns_are_kept_from_each_form_to_each(server: Fake, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    when = datetime.datetime(2026, 5, 4, 3, 2, 1, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "q": [str(at) for at in range(2500)],
            "id": pa.array(range(2500), pa.int32()),
            "when": pa.array([when] * 2500, pa.timestamp("ms", "UTC")),
            "tags": [["a", str(at)] if at % 2 else None for at in range(2500)],
            "rate": [float("nan") if at == 1 else at / 2 for at in range(2500)],
            "raw": [b"\xff"] * 2500,
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    keep_all = ["--column", "q", "--keep-all"]
    assert embed(server, *keep_all, "-i", tmp_path / "in.parquet", "-o", tmp_path / "a.parquet").returncode == 0
    got = pq.read_table(tmp_path / "a.parquet")
    assert got.column_names == ["text", "id", "when", "tags", "rate", "raw", "embedding"]
    # Arrow's own equality holds NaN for different from NaN.
    assert got.drop_columns(["text", "embedding", "rate"]).equals(table.drop_columns(["q", "rate"]))
    assert str(got["rate"].to_pylist()) == str(table["rate"].to_pylist())
    assert embed(server, *keep_all, "-i", tmp_path / "in.parquet", "-o", tmp_path / "b.jsonl").returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert rows[1] == {
        "text": "1", "id": 1, "when": "2026-05-04T03:02:01+00:00", "tags": ["a", "1"], "rate": None, "raw": "/w==",
        "embedding": [1, 1],
    }  # fmt: skip
    some = ["--keep", "id", "--keep", "tags"]
    assert embed(server, *some, "-i", tmp_path / "b.jsonl", "-o", tmp_path / "c.parquet").returncode == 0
    assert pq.read_table(tmp_path / "c.parquet").drop_columns("embedding").to_pylist() == [
        {"text": row["text"], "id": row["id"], "tags": row["tags"]} for row in rows
    ]
    (tmp_path / "d.csv").write_text('text,id,note\n1,01,"a, b"\n2,02,\n', encoding="utf-8-sig")
    result = embed(server, "--keep-all", "-i", tmp_path / "d.csv")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"text": "1", "id": "01", "note": "a, b", "embedding": [1, 1]},
        {"text": "2", "id": "02", "note": "", "embedding": [1, 2]},
    ]


def test_jsonl_of_uneven_rows_becomes_one_table(server: Fake, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    lines = ['{"text": "1", "a": 1}', '{"text": "2", "b": "x"}'] + ['{"text": "3", "a": 1.5}'] * 2000
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    assert embed(server, "--keep-all", "-i", tmp_path / "in.jsonl", "-o", tmp_path / "a.parquet").returncode == 0
    rows = pq.read_table(tmp_path / "a.parquet").drop_columns("embedding").to_pylist()
    assert rows[:3] == [
        {"text": "1", "a": 1.0, "b": None}, {"text": "2", "a": None, "b": "x"}, {"text": "3", "a": 1.5, "b": None}
    ]  # fmt: skip
    (tmp_path / "in.jsonl").write_text("\n".join([*lines, '{"text": "4", "a": "word"}']))
    result = embed(server, "--keep-all", "-i", tmp_path / "in.jsonl", "-o", tmp_path / "b.parquet")
    assert result.returncode == 1
    assert "'a' holds values of kinds that one column of Parquet cannot" in result.stderr.decode()
    assert "in.jsonl, line 2003" in result.stderr.decode()
    assert embed(server, "-i", tmp_path / "in.jsonl", "-o", tmp_path / "b.parquet").returncode == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", "{}\n", "line 1: no object with the field 'text'"),
        ("a.jsonl", '{"text": "1"}\n{', "line 2: no JSON"),
        ("a.jsonl", '{"text": 1}\n', "is a int, not a text"),
        ("a.csv", "id,name\n1,2\n", "has the columns id, name, not 'text'"),
        ("a.csv", "id;text\n1;2\n", "separated by commas"),
        ("a.parquet", "no parquet", "a.parquet"),
        ("a.xml", "", "must end in"),
        ("a.csv", "", "is empty: not even a line with the names of its columns"),
        ("a.csv", b"id,text\n1,2\n3,\xff\n", "line 3: not UTF-8"),
        ("a.csv", "id,text\n1,2\n3\n", "line 3: 'text' is missing"),
        ("a.jsonl", b'{"text": "1"}\n{"text": "\xff"}\n', "line 2: not UTF-8"),
        ("a.jsonl", "[" * 100_000, "line 1: no JSON"),
        ("a.parquet", "", "no Parquet that can be read"),
    ],
)
def test_bad_files_are_named(server: Fake, tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    result = embed(server, "--input", tmp_path / name, "--output", tmp_path / "out.npy")
    assert result.returncode in (1, 2)
    assert says in result.stderr.decode()
    assert b"Traceback" not in result.stderr
    assert not (tmp_path / "out.npy").exists()
    assert {path.name for path in tmp_path.iterdir()} == {name}
    assert server.sizes == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-i", "in.csv", "-o", "nowhere/out.npy"], "there is no folder"),
        (["-i", "in.csv", "--rows", "a.jsonl", "-o", "out.npy"], "--rows is for what --keep carries"),
        (["-i", "in.csv", "--keep", "id", "--rows", "a.npy", "-o", "out.npy"], "must end in .jsonl"),
        (["-i", "in.csv", "--rows", "a.jsonl"], "are for an --output"),
        (["-i", "in.csv", "-o", "in.csv"], "must end in .npy"),
        (["-i", "in.jsonl", "-o", "in.jsonl"], "in.jsonl exists"),
        (["-i", "in.jsonl", "-o", "in.jsonl", "--overwrite"], "is in the input"),
        (["-i", "in.jsonl", "-o", "link.jsonl", "--overwrite"], "is in the input"),
        (["-i", ".", "-o", "out.jsonl", "--input-format", "text"], "is in the input"),
        (["-i", "loop.jsonl", "-o", "out.npy"], "loop.jsonl: Too many levels"),
        (["-i", "in.csv", "-o", "folder.npy"], "is a directory"),
        (["-i", "in.csv", "-o", "pipe.npy", "--overwrite"], "is no regular file"),
        (["-i", "in.csv", "--encoding", "utf-9"], "unknown encoding: utf-9"),
        (["-i", "in.csv", "--encoding", "base64"], "not a text encoding"),
        (["-i", "in.csv", "--delimiter", "::"], "give one character"),
        (["-i", "in.jsonl", "--delimiter", ";"], "are for CSV"),
        (["-i", "in.csv", "1"], "not both; quote a glob"),
        (["--keep", "id", "1"], "no columns to keep beside lines of text"),
        (["-i", "in.csv", "--keep", "nope"], "has the columns id, text, embedding, not 'nope'; see --keep"),
        (["-i", "in.csv", "--keep-all"], "'embedding' cannot be kept"),
        (["--input-format", "parquet", "-o", "out.npy"], "standard input: no Parquet that can be read"),
        (["--input-format", "parquet"], "standard input: no Parquet that can be read"),
        (["-i", "nowhere.txt"], "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    server: Fake, tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "in.csv").write_text("id,text,embedding\n1,2,3\n")
    (tmp_path / "in.jsonl").write_text('{"text": "1"}\n')
    (tmp_path / "link.jsonl").symlink_to("in.jsonl")
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "folder.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    there = set(tmp_path.iterdir())
    result = embed(server, *arguments, cwd=tmp_path, input=b"")
    assert result.returncode in (1, 2)
    assert says in " ".join(result.stderr.decode().split())
    assert b"Traceback" not in result.stderr
    assert server.sizes == []
    assert set(tmp_path.iterdir()) == there


def test_bench_draws_a_chart(server: Fake, tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    command = [*RAWBERT, "bench", server.address, "--model", "a<b", "--callers", "1,2,3", "--seconds", "0.2"]
    (tmp_path / "texts.txt").write_text("1\n")
    command += ["--input", str(tmp_path / "texts.txt"), "--chart", str(chart)]
    assert "texts/s" in subprocess.run(command, capture_output=True, check=True, text=True).stdout
    root = ElementTree.parse(chart).getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{name}polyline")) == 4
    assert len(root.findall(f".//{name}circle")) == 4 * 3
    assert any("a<b at 127.0.0.1" in (text.text or "") for text in root.iter(f"{name}text"))
    result = subprocess.run([*command[:-1], "chart.png"], capture_output=True, check=False, text=True)
    assert (result.returncode, "must end in .svg" in result.stderr) == (2, True)


def test_bench(server: Fake, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("1\n2\n")
    command = [*RAWBERT, "bench", server.address, "--model", "m", "--input", str(tmp_path / "texts.txt")]
    command += ["--callers", "1,4", "--seconds", "0.3"]
    table = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert table.count("#") > 40
    results = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True, text=True).stdout)
    assert [each["callers"] for each in results] == [1, 4]
    for each in results:
        assert each["failed"] == 0
        assert 0 < each["p50"] <= each["p90"] <= each["p99"] <= each["longest"]
        assert each["calls_per_second"] > 10
