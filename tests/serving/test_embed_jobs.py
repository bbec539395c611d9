"""``rawbert embed`` into files: changes and failures on the way, what goes on after them, and what is published."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import pty
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_server import Fake, Refusal
from test_serving_cli_files import RAWBERT, embed, read_output, write_input

ROWS = 3000


@pytest.fixture
def server() -> Iterator[Fake]:
    with Fake() as server:
        yield server


def start(server: Fake, *arguments: Any, **settings: Any) -> subprocess.Popen[bytes]:
    command = [*RAWBERT, "embed", "--address", server.address, "--model", "m", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **settings)


def half_done(process: subprocess.Popen[bytes], output: Path) -> None:
    partial = output.with_name(f"{output.name}.partial")
    while not partial.exists() or partial.stat().st_size < 10_000:
        time.sleep(0.005)
        assert process.poll() is None, process.stderr and process.stderr.read()


@pytest.fixture
def slow(server: Fake) -> Fake:
    server.before = lambda request: time.sleep(0.02)
    return server


@pytest.mark.parametrize("target", ["npy", "jsonl", "parquet"])
def test_pipes_are_read_once(server: Fake, tmp_path: Path, target: str) -> None:
    output = tmp_path / f"out.{target}"
    script = 'exec "$@" --input <(seq 0 999) --input <(seq 1000 1999) --input-format text'
    command = [*RAWBERT, "embed", "-a", server.address, "-m", "m", "-o", str(output)]
    subprocess.run(["bash", "-c", script, "bash", *command], check=True, capture_output=True)
    texts, vectors = read_output(output)
    assert texts in (None, [str(at) for at in range(2000)])
    assert vectors[:, 1].tolist() == list(range(2000))
    assert os.listdir(tmp_path) == [output.name]


def test_a_named_pipe_to_standard_output(server: Fake, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.csv")
    writer = threading.Thread(target=lambda: (tmp_path / "in.csv").write_text("text\n1\n2\n"))
    writer.start()
    lines = embed(server, "-i", tmp_path / "in.csv").stdout.splitlines()
    writer.join()
    assert [json.loads(line)["text"] for line in lines] == ["1", "2"]


def test_standard_input_of_every_form(server: Fake, tmp_path: Path) -> None:
    for form in ("txt", "jsonl", "csv", "parquet"):
        write_input(tmp_path / f"in.{form}", ["1", "2"])
        data = (tmp_path / f"in.{form}").read_bytes()
        for content in [data] if form == "parquet" else [data, gzip.compress(data)]:
            asked = ["--input", "-", "--input-format", "text" if form == "txt" else form]
            for output in ([], ["-o", "-"], ["-o", tmp_path / "out.jsonl", "--overwrite"]):
                result = embed(server, *asked, *output, input=content)
                assert result.returncode == 0, result.stderr
                out = (tmp_path / "out.jsonl").read_bytes() if len(output) > 2 else result.stdout
                assert [json.loads(line)["text"] for line in out.splitlines()] == ["1", "2"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("txt", "npy"),
        ("txt", "jsonl"),
        ("jsonl", "parquet"),
        ("csv", "jsonl"),
        ("parquet", "parquet"),
        ("parquet", "npy"),
    ],
)
def test_an_input_that_changes_during_the_job(slow: Fake, tmp_path: Path, source: str, target: str) -> None:
    path, output = tmp_path / f"in.{source}", tmp_path / f"out.{target}"
    write_input(path, [str(at) for at in range(ROWS)])
    changed = [str(at if at < 2000 else -at) for at in range(ROWS)]
    write_input(tmp_path / f"new.{source}", changed)
    with start(slow, "-i", path, "-o", output) as process:
        half_done(process, output)
        if source in ("txt", "parquet"):
            (tmp_path / f"new.{source}").replace(path)
        else:
            path.write_bytes((tmp_path / f"new.{source}").read_bytes())
        _, said = process.communicate()
    assert (process.returncode, b"changed while it was read" in said) == (1, True), said
    assert not output.exists()
    slow.sizes.clear()
    result = embed(slow, "-i", path, "-o", output)
    assert result.returncode == 0, result.stderr
    assert sum(slow.sizes) < ROWS
    texts, vectors = read_output(output)
    assert texts in (None, changed)
    assert vectors[:, 1].tolist() == [int(text) for text in changed]


def test_an_input_that_is_cut_during_the_job(slow: Fake, tmp_path: Path) -> None:
    path, output = tmp_path / "in.txt", tmp_path / "out.npy"
    write_input(path, [str(at) for at in range(ROWS)])
    with start(slow, "-i", path, "-o", output) as process:
        half_done(process, output)
        os.truncate(path, 1000)
        _, said = process.communicate()
    assert (process.returncode, b"changed" in said) == (1, True)
    assert not output.exists()


def test_two_runs_into_one_output(slow: Fake, tmp_path: Path) -> None:
    path, output = tmp_path / "in.txt", tmp_path / "out.npy"
    write_input(path, [str(at) for at in range(ROWS)])
    (tmp_path / "link.npy").symlink_to("out.npy")
    slow.before = lambda request: time.sleep(0.4)
    with start(slow, "-i", path, "-o", output) as first:
        half_done(first, output)
        for name in ("out.npy", "link.npy"):
            second = embed(slow, "-i", path, "-o", tmp_path / name, "--restart")
            assert second.returncode == 1
            assert b"another run writes the same output" in second.stderr
        first.kill()
    slow.before = lambda request: None
    result = embed(slow, "-i", path, "-o", output)
    assert result.returncode == 0, result.stderr
    assert b"going on after" in result.stderr
    assert np.load(output)[:, 1].tolist() == list(range(ROWS))


def test_a_mended_row_costs_what_comes_after_it(server: Fake, tmp_path: Path) -> None:
    def fail(request: Any) -> None:
        if b"2500" in request.inputs["text"].string_val:
            raise Refusal(grpc.StatusCode.INTERNAL, "it broke")

    path, output = tmp_path / "in.csv", tmp_path / "out.parquet"
    write_input(path, [str(at) for at in range(ROWS)])
    server.before = fail
    assert embed(server, "-i", path, "-o", output, "--keep", "id").returncode == 1
    server.sizes.clear()
    write_input(path, [str(at) if at != 2500 else "7" for at in range(ROWS)])
    assert embed(server, "-i", path, "-o", output, "--keep", "id").returncode == 0
    assert 500 <= sum(server.sizes) < 1000
    write_input(tmp_path / "in.jsonl", [str(at) if at != 2500 else "7" for at in range(ROWS)])
    assert read_output(output)[1][:, 1].tolist() == [at if at != 2500 else 7 for at in range(ROWS)]


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("in.jsonl", '{"text": null}\n', b"line 2901: 'text' is null"),
        ("in.jsonl", '{"text": "1", "a": "word"}\n', b"line 2901: 'a' holds values of kinds"),
        ("in.jsonl", '{"text": "1", "a": 12345678901234567890123}\n', b"line 2901: 'a' holds values of kinds"),
        ("in.jsonl", '{"text": "1", "b": "\\ud800"}\n', b"line 2901: 'b' holds values of kinds"),
        ("in.jsonl", '{"text": "1", "c": {}}\n', b"what is kept cannot be written as Parquet: "),
        ("in.csv", "2900,1,2\n", b"line 2902: 3 fields"),
    ],
)
def test_nothing_is_sent_before_all_of_it_was_looked_through(
    server: Fake, tmp_path: Path, name: str, line: str, says: bytes
) -> None:
    rows = [f'{{"text": "{at}", "a": {at}}}\n' if name == "in.jsonl" else f"{at},{at}\n" for at in range(2900)]
    (tmp_path / name).write_text(("" if name == "in.jsonl" else "a,text\n") + "".join(rows) + line)
    result = embed(server, "--keep-all", "-i", tmp_path / name, "-o", tmp_path / "out.parquet")
    assert (result.returncode, server.sizes) == (1, [])
    assert says in result.stderr
    assert os.listdir(tmp_path) == [name]


def test_kept_numbers_that_no_column_of_one_type_can_have(server: Fake, tmp_path: Path) -> None:
    rows = [{"text": "1", "a": 2**60 + 1}] + [{"text": "1", "a": 0.5}] * 2000
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = embed(server, "--keep-all", "-i", tmp_path / "in.jsonl", "-o", tmp_path / "out.parquet")
    assert (result.returncode, server.sizes) == (1, [])
    assert b"line 2: 'a'" in result.stderr
    result = embed(server, "--keep-all", "-i", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["a"] == 2**60 + 1


def test_what_is_skipped_is_counted_and_listed(server: Fake, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"text": "{at}"}}\n' if at % 100 else "{\n" for at in range(ROWS)))
    for output in ("out.npy", "out.jsonl", "out.parquet"):
        result = embed(server, "-i", path, "-o", tmp_path / output, "--on-error", "skip")
        assert result.returncode == 0, result.stderr
        assert b"30 rows were skipped" in result.stderr
        skipped = [json.loads(line) for line in (tmp_path / f"{output}.skipped.jsonl").read_text().splitlines()]
        assert [row["line"] for row in skipped] == [at + 1 for at in range(0, ROWS, 100)]
        assert read_output(tmp_path / output)[1][:, 1].tolist() == [at for at in range(ROWS) if at % 100]
    path.write_text('{"text": "1"}\n')
    assert embed(server, "-i", path, "-o", tmp_path / "out.npy", "--overwrite").returncode == 0
    assert not (tmp_path / "out.npy.skipped.jsonl").exists()
    path.write_text('{"text": "1"}\n{\n{"text": "2"}\n')
    result = embed(server, "-i", path, "--on-error", "skip")
    assert len(result.stdout.splitlines()) == 2
    assert b"1 rows were skipped" in result.stderr
    assert b"in.jsonl, 2: no JSON" in result.stderr


@pytest.mark.parametrize("rows", [None, "ids.jsonl", "ids.parquet"])
def test_ids_beside_npy(server: Fake, tmp_path: Path, rows: str | None) -> None:
    write_input(tmp_path / "in.parquet", [str(at) for at in range(ROWS)])
    asked = ["-i", tmp_path / "in.parquet", "-o", tmp_path / "out.npy", "--keep", "id"]
    asked += ["--rows", tmp_path / rows] if rows else []
    result = embed(server, *asked)
    assert result.returncode == 0, result.stderr
    beside = tmp_path / (rows or "out.npy.rows.jsonl")
    if beside.suffix == ".parquet":
        table = pq.read_table(beside)
        assert (table.column_names, table["id"].type) == (["id"], pa.int64())
        found = table["id"].to_pylist()
    else:
        found = [json.loads(line)["id"] for line in beside.read_text().splitlines()]
    assert found == list(range(ROWS))
    assert np.load(tmp_path / "out.npy")[:, 1].tolist() == found
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "out.npy", beside.name}
    (tmp_path / "out.npy").unlink()
    assert b"exists" in embed(server, *asked).stderr
    assert embed(server, *asked, "--overwrite").returncode == 0


def kept_table() -> pa.Table:
    """Every type that Parquet has, with values that Python's own types do not carry."""
    columns = {
        "ns": pa.array([1_700_000_000_123_456_789, None, -1], pa.timestamp("ns")),
        "ns_zone": pa.array([1_700_000_000_123_456_789, None, 0], pa.timestamp("ns", "Europe/Berlin")),
        "far": pa.array([253_402_300_800_000_001, -62_135_596_800_000_001, None], pa.timestamp("us")),
        "far_utc": pa.array([253_402_300_800_000, -62_135_596_800_001, None], pa.timestamp("ms", "UTC")),
        "day": pa.array([2_932_897, -719_163, None], pa.int32()).cast(pa.date32()),
        "time": pa.array([1, 86_399_999_999_999, None], pa.time64("ns")),
        "took": pa.array([1, -10**18 - 1, None], pa.duration("ns")),
        "money": pa.array(["1.10", "-99999999999999999999999999.99", None]).cast(pa.decimal128(38, 2)),
        "big": pa.array([2**64 - 1, 0, None], pa.uint64()),
        "half": pa.array(np.float16([1.5, np.nan, np.inf])),
        "raw": pa.array([b"\xff\0", b"", None]),
        "fixed": pa.array([b"ab", b"cd", None], pa.binary(2)),
        "word": pa.array(["a", "b", None], pa.dictionary(pa.int32(), pa.string())),
        "large": pa.array(["a", "", None], pa.large_string()),
        "view": pa.array(["a", "", None], pa.string_view()),
        "list": pa.array([[1, None], [], None], pa.large_list(pa.int8())),
        "two": pa.array([[1.0, 2.0], [3.0, None], None], pa.list_(pa.float64(), 2)),
        "map": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int32())),
        "row": pa.array([{"t": 1, "s": ["x"]}, {"t": None, "s": None}, None],
                        pa.struct([("t", pa.timestamp("ns")), ("s", pa.list_(pa.string()))])),
        "flag": pa.array([True, False, None]),
        "nothing": pa.nulls(3),
    }  # fmt: skip
    schema = pa.schema([pa.field(name, column.type, metadata={"k": "v"}) for name, column in columns.items()])
    return pa.table(list(columns.values()), schema=schema)


def test_every_type_of_parquet_stays_what_it_is(server: Fake, tmp_path: Path) -> None:
    table = kept_table()
    pq.write_table(table.append_column("text", pa.array(["1", "2", "3"])), tmp_path / "in.parquet")
    there = pq.read_table(tmp_path / "in.parquet").drop_columns("text")
    asked = ["-i", tmp_path / "in.parquet", "--keep-all", "-o"]
    result = embed(server, *asked, tmp_path / "out.parquet")
    assert result.returncode == 0, result.stderr
    got = pq.read_table(tmp_path / "out.parquet")
    assert got["text"].to_pylist() == ["1", "2", "3"]
    got = got.drop_columns(["text", "embedding"])
    assert got.schema.equals(there.schema, check_metadata=False)
    for name in there.column_names:
        assert str(got[name].cast(pa.int64()) if name in ("ns", "far") else got[name]) == str(
            there[name].cast(pa.int64()) if name in ("ns", "far") else there[name]
        )
    assert got.drop_columns("half").equals(there.drop_columns("half"))
    result = embed(server, *asked, tmp_path / "out.jsonl")
    assert result.returncode == 0, result.stderr
    first, second, third = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    expected = {
        "ns": "2023-11-14T22:13:20.123456789", "ns_zone": "2023-11-14T23:13:20.123456789+01:00",
        "far": "10000-01-01T00:00:00.000001", "far_utc": "10000-01-01T00:00:00+00:00", "day": "10000-01-01",
        "time": "00:00:00.000000001", "took": "PT0.000000001S", "money": "1.10", "big": 2**64 - 1, "half": 1.5,
        "raw": "/wA=", "fixed": "YWI=", "word": "a", "large": "a", "view": "a", "list": [1, None], "two": [1.0, 2.0],
        "map": [["a", 1]], "row": {"t": "1970-01-01T00:00:00.000000001", "s": ["x"]}, "flag": True, "nothing": None,
    }  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    assert (second["half"], second["far"], second["row"]) == (
        None,
        "0000-12-31T23:59:59.999999",
        {"t": None, "s": None},
    )
    assert {value for name, value in third.items() if name not in ("ns", "ns_zone", "half", "text", "embedding")} == {
        None
    }


def test_times_as_spark_writes_them(server: Fake, tmp_path: Path) -> None:
    for values, unit in (([253_370_764_800_000_000, 1, None], "us"), ([1_700_000_000_123_456_789, 1, None], "ns")):
        table = pa.table({"text": ["1", "2", "3"], "at": pa.array(values, pa.timestamp(unit))})
        pq.write_table(table, tmp_path / "in.parquet", use_deprecated_int96_timestamps=True)
        for form in ("parquet", "jsonl"):
            output = tmp_path / f"out.{form}"
            result = embed(server, "-i", tmp_path / "in.parquet", "--keep", "at", "-o", output, "--overwrite")
            assert result.returncode == 0, result.stderr
        assert pq.read_table(tmp_path / "out.parquet")["at"].combine_chunks().equals(table["at"].combine_chunks())
        first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["at"]
        assert first == ("9999-01-01T00:00:00" if unit == "us" else "2023-11-14T22:13:20.123456789")


def test_parquet_of_several_files(server: Fake, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["1"], "id": pa.array([1], pa.int32())}), folder / "0.parquet")
    pq.write_table(pa.table({"id": pa.array([2], pa.int64()), "text": ["2"]}), folder / "1.parquet")
    assert embed(server, "-i", folder, "--keep-all", "-o", tmp_path / "out.parquet").returncode == 0
    table = pq.read_table(tmp_path / "out.parquet").drop_columns("embedding")
    assert table.to_pylist() == [{"text": "1", "id": 1}, {"text": "2", "id": 2}]
    assert table["id"].type == pa.int64()
    pq.write_table(pa.table({"id": ["3"], "text": ["3"]}), folder / "2.parquet")
    result = embed(server, "-i", folder, "--keep-all", "-o", tmp_path / "out.parquet", "--overwrite")
    assert (result.returncode, b"2.parquet: 'id' holds values of kinds" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("size", "target"),
    [(10, "npy"), (30_000, "npy"), (60_000, "npy"), (100_000, "jsonl"), (100_000, "parquet"), (30_000, "parquet")],
)
def test_a_full_disk(server: Fake, tmp_path: Path, size: int, target: str) -> None:
    write_input(tmp_path / "in.jsonl", [str(at) for at in range(ROWS)])
    output = tmp_path / f"out.{target}"
    asked = ["-i", tmp_path / "in.jsonl", "-o", output]
    result = embed(server, *asked, limit=size)
    if result.returncode:
        assert (result.returncode, b"File too large" in result.stderr) == (1, True), result.stderr
        assert b"Traceback" not in result.stderr
        assert {path.name for path in tmp_path.iterdir()} <= {"in.jsonl", f"{output.name}.partial"}
        server.sizes.clear()
        assert embed(server, *asked).returncode == 0
        assert sum(server.sizes) < ROWS or size == 10
    assert read_output(output)[1][:, 1].tolist() == list(range(ROWS))
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", output.name}


def test_a_full_disk_for_standard_input_and_output(server: Fake, tmp_path: Path) -> None:
    lines = b"".join(b"%d\n" % at for at in range(ROWS))
    result = embed(server, "-o", tmp_path / "out.npy", input=lines, limit=1000)
    assert (result.returncode, b"File too large" in result.stderr) == (1, True)
    assert os.listdir(tmp_path) == []
    with open("/dev/full", "wb") as full:
        command = [*RAWBERT, "embed", "-a", server.address, "-m", "m"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, input=lines, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert b"standard output: No space left on device" in done.stderr


def test_a_folder_that_cannot_be_written_to(server: Fake, tmp_path: Path) -> None:
    (tmp_path / "out.npy.partial").mkdir()
    result = embed(server, "-o", tmp_path / "out.npy", "1")
    assert (result.returncode, b"Traceback" in result.stderr) == (1, False)
    assert b"out.npy.partial: Is a directory" in result.stderr


def test_output_is_utf8_whatever_the_locale(server: Fake, tmp_path: Path) -> None:
    text = {"text": "1", "name": "ünï 日本 𝄞 \ud800", "\u00e9": "x"}
    (tmp_path / "in.jsonl").write_text(json.dumps(text) + "\n")
    for settings in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "utf-16", "PYTHONUTF8": "0"}):
        environment = {**os.environ, **settings}
        result = embed(server, "-i", tmp_path / "in.jsonl", "--keep-all", env=environment)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout.decode("utf-8")) == {**text, "embedding": [1, 1]}
        asked = ["-i", tmp_path / "in.jsonl", "--keep-all", "-o", tmp_path / "out.jsonl", "--overwrite"]
        assert embed(server, *asked, env=environment).returncode == 0
        assert json.loads((tmp_path / "out.jsonl").read_bytes().decode("utf-8")) == {**text, "embedding": [1, 1]}


def test_a_server_that_restarts_is_waited_for(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    write_input(tmp_path / "in.txt", [str(at) for at in range(ROWS)])
    with Fake(lambda request: time.sleep(0.02)) as server:
        process = start(server, "-i", tmp_path / "in.txt", "-o", output)
        half_done(process, output)
    time.sleep(2)
    with Fake(port=server.port):
        _, said = process.communicate()
    assert process.returncode == 0, said
    assert b"waiting for 127.0.0.1" in said
    assert np.load(output)[:, 1].tolist() == list(range(ROWS))


def test_a_job_goes_on_at_another_address_but_not_with_another_version(server: Fake, tmp_path: Path) -> None:
    def fail(request: Any) -> None:
        if b"2500" in request.inputs["text"].string_val:
            raise Refusal(grpc.StatusCode.INTERNAL, "it broke")

    write_input(tmp_path / "in.txt", [str(at) for at in range(ROWS)])
    asked = ["-i", tmp_path / "in.txt", "-o", tmp_path / "out.npy"]
    server.before = fail
    assert embed(server, *asked).returncode == 1
    with Fake() as other:
        other.versions = [2]
        result = embed(other, *asked)
        assert (result.returncode, b"of version 1: --restart begins anew" in result.stderr) == (1, True)
        other.versions = [1, 2]
        assert embed(other, *asked).returncode == 0
    assert set(np.load(tmp_path / "out.npy")[:, 0]) == {1}


def test_percent_and_time_left_at_a_terminal(slow: Fake, tmp_path: Path) -> None:
    write_input(tmp_path / "in.txt", [str(at) for at in range(ROWS)])
    ours, theirs = pty.openpty()
    command = [*RAWBERT, "embed", "-a", slow.address, "-m", "m", "-i", str(tmp_path / "in.txt")]
    command += ["-o", str(tmp_path / "out.npy"), "--concurrency", "1"]
    shown = b""
    with subprocess.Popen(command, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}):
        os.close(theirs)
        while True:
            try:
                shown += os.read(ours, 1 << 16)
            except OSError:
                break
    os.close(ours)
    assert b"%" in shown
    assert b"/3000" in shown
    assert b"0:00:0" in shown
    assert b"3000 texts, 2 dimensions" in shown


def test_a_torn_beginning_is_begun_anew(server: Fake, tmp_path: Path) -> None:
    write_input(tmp_path / "in.txt", ["1", "2"])
    for left in (b"", b'{"made', b'{"made_from": {"signature": nu'):
        (tmp_path / "out.npy.partial").write_bytes(left)
        result = embed(server, "-i", tmp_path / "in.txt", "-o", tmp_path / "out.npy", "--overwrite")
        assert result.returncode == 0, result.stderr
    for left in (b"\0" * 100, b"{}\n" + b"\0" * 100):
        (tmp_path / "out.npy.partial").write_bytes(left)
        result = embed(server, "-i", tmp_path / "in.txt", "-o", tmp_path / "out.npy", "--overwrite")
        assert (result.returncode, b"damaged: begin anew with --restart" in result.stderr) == (1, True)


def test_vectors_that_were_damaged_are_made_anew(server: Fake, tmp_path: Path) -> None:
    def fail(request: Any) -> None:
        if b"2500" in request.inputs["text"].string_val:
            raise Refusal(grpc.StatusCode.INTERNAL, "it broke")

    write_input(tmp_path / "in.txt", [str(at) for at in range(ROWS)])
    asked = ["-i", tmp_path / "in.txt", "-o", tmp_path / "out.npy"]
    server.before = fail
    assert embed(server, *asked).returncode == 1
    partial = tmp_path / "out.npy.partial"
    data = bytearray(partial.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)  # As a loss of power leaves it.
    partial.write_bytes(data)
    server.before = lambda request: None
    assert embed(server, *asked).returncode == 0
    assert np.load(tmp_path / "out.npy")[:, 1].tolist() == list(range(ROWS))


def test_interrupted_while_it_publishes(server: Fake, tmp_path: Path) -> None:
    """SIGKILL at any moment of a job: what is there is whole, and the next run ends it."""
    write_input(tmp_path / "in.parquet", [str(at) for at in range(ROWS)])
    output = tmp_path / "out.npy"
    asked = ["-i", tmp_path / "in.parquet", "-o", output, "--keep", "id"]
    for wait in np.linspace(0.4, 1.2, 5):
        with start(server, *asked) as process:
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        if output.exists():
            assert (tmp_path / "out.npy.rows.jsonl").exists()
        result = embed(server, *asked, "--overwrite")
        assert result.returncode == 0, result.stderr
        assert np.load(output)[:, 1].tolist() == list(range(ROWS))
        assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "out.npy", "out.npy.rows.jsonl"}
        for path in (output, tmp_path / "out.npy.rows.jsonl"):
            path.unlink()


def test_several_days(tmp_path: Path) -> None:
    """A time with a zone is what Python's own would be."""
    from rawbert.serving.cli.files.parquet import from_arrow

    for zone in ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata", "+02:00"):
        for second in (0, 1_700_000_000, -5_000_000_000, 1_720_000_000):
            value = pa.scalar(second, pa.timestamp("s", zone))
            assert datetime.datetime.fromisoformat(from_arrow(value)) == value.as_py()
            assert from_arrow(value) == value.as_py().isoformat()


@pytest.mark.parametrize("texts", [["a", "x", "c"], ["a", "b"], ["a", "b", "c", "d"], [], ["b", "a", "c"]])
def test_other_rows_than_were_embedded_are_never_published(tmp_path: Path, texts: list[str]) -> None:
    from rawbert.serving.cli.files import BadFile
    from rawbert.serving.cli.files.inputs import Inputs
    from rawbert.serving.cli.files.job import Job
    from rawbert.serving.cli.files.source import Source

    def rows() -> list[Any]:
        return list(job.rows(Source(Inputs([str(tmp_path / "in.txt")], None, tmp_path / "spool"))))

    with Job(tmp_path / "out.npy", {"model": "m"}) as job:
        vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
        job.append(zip("abc", vectors, [1, 1, 1], strict=True), lambda count: None)
        write_input(tmp_path / "in.txt", ["a", "b", "c"])
        np.testing.assert_array_equal(rows()[0][1], vectors)
        write_input(tmp_path / "in.txt", texts)
        with pytest.raises(BadFile):
            rows()
