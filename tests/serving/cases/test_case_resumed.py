"""A job that ends early loses no results: after a kill, a full disk, a refusal or a bad row, it continues."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from command import RAWBERT, SLOW_ON_THE_SECOND
from job_files import read_output, write_input
from watched import Refusal

ROWS = 3000


def fails_at(text: str) -> Callable[[Any], None]:
    def before(request: Any) -> None:
        if text.encode() in request.inputs["text"].string_val:
            raise Refusal(grpc.StatusCode.INTERNAL, "it broke")

    return before


def never(request: Any) -> None:
    """A server's action before it answers: none."""


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Make writing beyond a size fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@SLOW_ON_THE_SECOND
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_an_interrupted_job_goes_on(server: Any, embed: Any, tmp_path: Path, number: signal.Signals) -> None:
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
    server.before = never
    server.sizes.clear()
    result = embed("--input", source, "--output", output)
    assert result.returncode == 0, result.err
    assert "continuing after" in result.err
    assert 0 < sum(server.sizes) < 20_000
    texts, vectors = read_output(output)
    assert texts == asked
    assert vectors[:, 1].tolist() == list(range(20_000))


@SLOW_ON_THE_SECOND
def test_interrupted_while_it_publishes(server: Any, embed: Any, tmp_path: Path) -> None:
    """SIGKILL at any moment of a job: existing files are complete, and the next run finishes the job."""
    write_input(tmp_path / "in.parquet", [str(at) for at in range(ROWS)])
    output = tmp_path / "out.npy"
    asked = ["-i", str(tmp_path / "in.parquet"), "-o", str(output), "--keep", "id"]
    for wait in np.linspace(0.4, 1.2, 4):
        with subprocess.Popen(
            [*RAWBERT, "embed", "-a", server.address, "-m", "m", *asked], stderr=subprocess.PIPE
        ) as process:
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        if output.exists():
            assert (tmp_path / "out.npy.rows.jsonl").exists()
        result = embed(*asked, "--overwrite")
        assert result.returncode == 0, result.err
        assert np.load(output)[:, 1].tolist() == list(range(ROWS))
        assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "out.npy", "out.npy.rows.jsonl"}
        for path in (output, tmp_path / "out.npy.rows.jsonl"):
            path.unlink()


@pytest.mark.parametrize("target", ["npy", "jsonl", "parquet"])
def test_a_mended_row_costs_what_comes_after_it(server: Any, embed: Any, tmp_path: Path, target: str) -> None:
    path, output = tmp_path / "in.csv", tmp_path / f"out.{target}"
    write_input(path, [str(at) for at in range(ROWS)])
    server.before = fails_at("2500")
    result = embed("-i", path, "-o", output, "--keep", "id")
    assert (result.returncode, "texts; the same command continues from there" in result.err) == (1, True)
    server.sizes.clear()
    write_input(path, [str(at) if at != 2500 else "7" for at in range(ROWS)])
    assert embed("-i", path, "-o", output, "--keep", "id").returncode == 0
    assert 500 <= sum(server.sizes) < 1000
    assert read_output(output)[1][:, 1].tolist() == [at if at != 2500 else 7 for at in range(ROWS)]


def test_other_columns_to_keep_cost_no_call(server: Any, embed: Any, tmp_path: Path) -> None:
    """Kept columns are read again: after a failure, another run may keep other columns."""
    write_input(tmp_path / "in.csv", [str(at) for at in range(ROWS)])
    server.before = fails_at("2999")
    assert embed("-i", tmp_path / "in.csv", "-o", tmp_path / "out.jsonl").returncode == 1
    server.before = never
    server.sizes.clear()
    assert embed("-i", tmp_path / "in.csv", "-o", tmp_path / "out.jsonl", "--keep", "id").returncode == 0
    assert sum(server.sizes) < 1000
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [str(at) for at in range(ROWS)]


def test_a_job_from_another_input_is_not_taken_up(embed: Any, server: Any, tmp_path: Path) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.npy"
    write_input(source, [str(at) for at in range(ROWS)])
    server.before = fails_at("2500")
    assert embed("--input", source, "--output", output).returncode == 1
    server.before = never
    write_input(source, ["1", "2"])
    result = embed("--input", source, "--output", output)
    assert (result.returncode, "with another input: start again with --restart" in result.err) == (1, True)
    result = embed("--input", source, "--output", output, "--signature", "serving_default")
    assert (result.returncode, "with another signature: start again with --restart" in result.err) == (1, True)
    assert embed("--input", source, "--output", output, "--restart").returncode == 0
    assert np.load(output)[:, 1].tolist() == [1, 2]
    result = embed("--input", source, "--output", output)
    assert (result.returncode, "--overwrite" in result.err) == (1, True)


def test_a_job_from_standard_input_goes_on_with_the_same_input(server: Any, embed: Any, tmp_path: Path) -> None:
    lines = "".join(f'{{"text": "{at}", "id": {at * 7}}}\n' for at in range(3000)).encode()
    arguments = ["--input-format", "jsonl", "--keep", "id", "--output", tmp_path / "out.jsonl"]
    server.before = fails_at("2000")
    result = embed(*arguments, input=lines)
    assert (result.returncode, "the same command continues" in result.err) == (1, True)
    server.before = never
    result = embed(*arguments, input=b'{"text": "7", "id": 0}\n')
    assert (result.returncode, "with another input" in result.err) == (1, True)
    server.sizes.clear()
    result = embed(*arguments, input=lines)
    assert result.returncode == 0, result.err
    assert "continuing after" in result.err
    assert sum(server.sizes) < 3000
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["text"], row["id"], row["embedding"][1]) for row in rows] == [
        (str(at), at * 7, at) for at in range(3000)
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"out.jsonl"}


def test_a_job_goes_on_at_another_address_but_not_with_another_version(
    side: Any, server: Any, embed: Any, tmp_path: Path
) -> None:
    write_input(tmp_path / "in.txt", [str(at) for at in range(ROWS)])
    asked = ["-i", tmp_path / "in.txt", "-o", tmp_path / "out.npy"]
    server.before = fails_at("2500")
    assert embed(*asked).returncode == 1
    with side.numbers(versions=[2]) as other:
        result = embed(*asked, at=other)
        assert (result.returncode, "from version 1: --restart starts again" in result.err) == (1, True)
        other.versions = [1, 2]
        assert embed(*asked, at=other).returncode == 0
    assert set(np.load(tmp_path / "out.npy")[:, 0]) == {1}


@SLOW_ON_THE_SECOND
def test_a_server_that_restarts_is_waited_for(side: Any, embed: Any, tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    write_input(tmp_path / "in.txt", [str(at) for at in range(ROWS)])
    again: list[Any] = []

    def leave(request: Any) -> None:
        if len(first.sizes) == 20:
            threading.Thread(target=restart).start()
        time.sleep(0.01)

    def restart() -> None:
        first.__exit__()
        time.sleep(2)
        again.append(side.numbers(port=first.port).__enter__())

    with side.numbers(leave) as first:
        result = embed("-i", tmp_path / "in.txt", "-o", output, at=first)
    again[0].__exit__()
    assert result.returncode == 0, result.err
    assert "waiting for 127.0.0.1" in result.err
    assert np.load(output)[:, 1].tolist() == list(range(ROWS))


@pytest.mark.parametrize(
    ("size", "target"),
    [(10, "npy"), (30_000, "npy"), (60_000, "npy"), (100_000, "jsonl"), (100_000, "parquet"), (30_000, "parquet")],
)
def test_a_full_disk(server: Any, embed: Any, tmp_path: Path, size: int, target: str) -> None:
    write_input(tmp_path / "in.jsonl", [str(at) for at in range(ROWS)])
    output = tmp_path / f"out.{target}"
    asked = ["-i", tmp_path / "in.jsonl", "-o", output]
    with files_of_at_most(size):
        result = embed(*asked)
    if result.returncode:
        assert (result.returncode, "File too large" in result.err) == (1, True), result.err
        assert {path.name for path in tmp_path.iterdir()} <= {"in.jsonl", f"{output.name}.partial"}
        server.sizes.clear()
        assert embed(*asked).returncode == 0
        assert sum(server.sizes) < ROWS or size == 10
    assert read_output(output)[1][:, 1].tolist() == list(range(ROWS))
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", output.name}


@SLOW_ON_THE_SECOND
def test_a_full_disk_for_standard_input_and_output(server: Any, embed: Any, tmp_path: Path) -> None:
    lines = b"".join(b"%d\n" % at for at in range(ROWS))
    with files_of_at_most(1000):
        result = embed("-o", tmp_path / "out.npy", input=lines)
    assert (result.returncode, "File too large" in result.err) == (1, True)
    assert os.listdir(tmp_path) == []
    with open("/dev/full", "wb") as full:
        command = [*RAWBERT, "embed", "-a", server.address, "-m", "m"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, input=lines, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert b"standard output: No space left on device" in done.stderr


def test_a_torn_beginning_is_begun_anew(embed: Any, tmp_path: Path) -> None:
    write_input(tmp_path / "in.txt", ["1", "2"])
    asked = ["-i", tmp_path / "in.txt", "-o", tmp_path / "out.npy", "--overwrite"]
    for left in (b"", b'{"made', b'{"made_from": {"signature": nu'):
        (tmp_path / "out.npy.partial").write_bytes(left)
        result = embed(*asked)
        assert result.returncode == 0, result.err
    for left in (b"\0" * 100, b"{}\n" + b"\0" * 100):
        (tmp_path / "out.npy.partial").write_bytes(left)
        result = embed(*asked)
        assert (result.returncode, "damaged: start again with --restart" in result.err) == (1, True)


def test_vectors_that_were_damaged_are_made_anew(server: Any, embed: Any, tmp_path: Path) -> None:
    write_input(tmp_path / "in.txt", [str(at) for at in range(ROWS)])
    asked = ["-i", tmp_path / "in.txt", "-o", tmp_path / "out.npy"]
    server.before = fails_at("2500")
    assert embed(*asked).returncode == 1
    partial = tmp_path / "out.npy.partial"
    data = bytearray(partial.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)  # As a loss of power leaves it.
    partial.write_bytes(data)
    server.before = never
    assert embed(*asked).returncode == 0
    assert np.load(tmp_path / "out.npy")[:, 1].tolist() == list(range(ROWS))


@SLOW_ON_THE_SECOND
def test_percent_and_time_left_at_a_terminal(server: Any, tmp_path: Path) -> None:
    server.before = lambda request: time.sleep(0.02)
    write_input(tmp_path / "in.txt", [str(at) for at in range(ROWS)])
    ours, theirs = pty.openpty()
    command = [*RAWBERT, "embed", "-a", server.address, "-m", "m", "-i", str(tmp_path / "in.txt")]
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
