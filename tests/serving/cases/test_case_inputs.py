"""The output belongs to the input: pipes, files that change during a job, two jobs with one output."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import RAWBERT, SLOW_ON_THE_SECOND
from job_files import read_output, write_input

ROWS = 3000


def in_the_middle(server: Any, act: Callable[[], Any]) -> None:
    """Run an action once, when half of the rows are answered."""
    lock, done = threading.Lock(), []

    def before(request: Any) -> None:
        with lock:
            if sum(server.sizes) > ROWS // 2 and not done:
                done.append(act())

    server.before = before


@SLOW_ON_THE_SECOND
@pytest.mark.parametrize("target", ["npy", "jsonl", "parquet"])
def test_pipes_are_read_once(server: Any, tmp_path: Path, target: str) -> None:
    output = tmp_path / f"out.{target}"
    script = 'exec "$@" --input <(seq 0 999) --input <(seq 1000 1999) --input-format text'
    command = [*RAWBERT, "embed", "-a", server.address, "-m", "m", "-o", str(output)]
    subprocess.run(["bash", "-c", script, "bash", *command], check=True, capture_output=True)
    texts, vectors = read_output(output)
    assert texts in (None, [str(at) for at in range(2000)])
    assert vectors[:, 1].tolist() == list(range(2000))
    assert os.listdir(tmp_path) == [output.name]


@pytest.mark.parametrize("output", [None, "out.npy"])
def test_a_named_pipe(embed: Any, tmp_path: Path, output: str | None) -> None:
    os.mkfifo(tmp_path / "in.csv")
    writer = threading.Thread(target=lambda: (tmp_path / "in.csv").write_text("text\n1\n2\n"))
    writer.start()
    result = embed("-i", tmp_path / "in.csv", *(["-o", tmp_path / output] if output else []))
    writer.join()
    assert result.returncode == 0, result.err
    if output:
        assert np.load(tmp_path / output)[:, 1].tolist() == [1, 2]
        assert sorted(os.listdir(tmp_path)) == ["in.csv", output]
    else:
        assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == ["1", "2"]


def test_standard_input_of_every_form(embed: Any, tmp_path: Path) -> None:
    for form in ("txt", "jsonl", "csv", "parquet"):
        write_input(tmp_path / f"in.{form}", ["1", "2"])
        data = (tmp_path / f"in.{form}").read_bytes()
        for content in [data] if form == "parquet" else [data, gzip.compress(data)]:
            asked = ["--input", "-", "--input-format", "text" if form == "txt" else form]
            for output in ([], ["-o", "-"], ["-o", tmp_path / "out.jsonl", "--overwrite"]):
                result = embed(*asked, *output, input=content)
                assert result.returncode == 0, result.err
                out = (tmp_path / "out.jsonl").read_bytes() if len(output) > 2 else result.stdout
                assert [json.loads(line)["text"] for line in out.splitlines()] == ["1", "2"]


@pytest.mark.parametrize(
    ("change", "source", "target"),
    [
        ("replace", "txt", "npy"),
        ("replace", "csv", "jsonl"),
        ("replace", "parquet", "parquet"),
        ("overwrite", "txt", "jsonl"),
        ("overwrite", "jsonl", "parquet"),
        ("overwrite", "parquet", "npy"),
    ],
)
def test_an_input_that_changes_during_the_job(
    server: Any, embed: Any, tmp_path: Path, change: str, source: str, target: str
) -> None:
    path, new, output = tmp_path / f"in.{source}", tmp_path / f"new.{source}", tmp_path / f"out.{target}"
    write_input(path, [str(at) for at in range(ROWS)])
    changed = [str(at if at < 2000 else -at) for at in range(ROWS)]
    write_input(new, changed)
    data = new.read_bytes()
    in_the_middle(server, lambda: new.replace(path) if change == "replace" else path.write_bytes(data))
    result = embed("-i", path, "-o", output)
    assert (result.returncode, "changed while it was read" in result.err) == (1, True), result.err
    assert not output.exists()
    server.sizes.clear()
    result = embed("-i", path, "-o", output)
    assert result.returncode == 0, result.err
    assert sum(server.sizes) < ROWS
    texts, vectors = read_output(output)
    assert texts in (None, changed)
    assert vectors[:, 1].tolist() == [int(text) for text in changed]


@pytest.mark.parametrize(
    ("change", "target"),
    [("cut", "npy"), ("longer", "jsonl"), ("gone", "parquet"), ("touched", "npy"), ("another file", "jsonl")],
)
def test_an_input_that_is_no_more_what_it_was(
    server: Any, embed: Any, tmp_path: Path, change: str, target: str
) -> None:
    folder, output = tmp_path / "in", tmp_path / f"out.{target}"
    folder.mkdir()
    path = folder / "0.jsonl"
    write_input(path, [str(at) for at in range(ROWS)])

    def act() -> None:
        if change == "cut":
            os.truncate(path, path.stat().st_size // 2)
        elif change == "longer":
            with path.open("a") as file:
                file.write('{"text": "1"}\n')
        elif change == "gone":
            path.unlink()
        elif change == "touched":
            os.utime(path)
        else:
            write_input(folder / "1.jsonl", ["1"])

    in_the_middle(server, act)
    result = embed("-i", folder, "-o", output)
    assert (result.returncode, output.exists()) == (1, False), result.err
    assert len(result.err.splitlines()) == 2
    assert "texts; the same command continues from there" in result.err
    assert any(says in result.err for says in ("changed while", "the set of files has changed", "No such file"))


def test_standard_output_of_an_input_that_changes(server: Any, embed: Any, tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    write_input(path, [str(at) for at in range(ROWS)])
    in_the_middle(server, lambda: write_input(path, ["7"] * ROWS))
    result = embed("-i", path)
    assert (result.returncode, "changed while it was read" in result.err) == (1, True)


@SLOW_ON_THE_SECOND
def test_two_runs_into_one_output(server: Any, embed: Any, tmp_path: Path) -> None:
    path, output = tmp_path / "in.txt", tmp_path / "out.npy"
    write_input(path, [str(at) for at in range(ROWS)])
    (tmp_path / "link.npy").symlink_to("out.npy")
    server.before = lambda request: time.sleep(0.4)
    partial = tmp_path / "out.npy.partial"
    command = [*RAWBERT, "embed", "-a", server.address, "-m", "m", "-i", str(path), "-o", str(output)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as first:
        while not partial.exists() or partial.stat().st_size < 10_000:
            time.sleep(0.005)
            assert first.poll() is None
        for name in ("out.npy", "link.npy"):
            second = embed("-i", path, "-o", tmp_path / name, "--restart")
            assert second.returncode == 1
            assert "another run writes the same output" in second.err
        first.kill()
    server.before = lambda request: None
    result = embed("-i", path, "-o", output)
    assert result.returncode == 0, result.err
    assert "continuing after" in result.err
    assert np.load(output)[:, 1].tolist() == list(range(ROWS))


@pytest.mark.parametrize("name", ["out.npy", "ids.jsonl"])
def test_an_output_that_another_program_makes_meanwhile(server: Any, embed: Any, tmp_path: Path, name: str) -> None:
    """A file that another job created meanwhile, such as the file of ids: it is not replaced, and no work is lost."""
    path, output = tmp_path / "in.csv", tmp_path / "out.npy"
    write_input(path, [str(at) for at in range(ROWS)])
    asked = ["-i", path, "-o", output, "--keep", "id", "--rows", tmp_path / "ids.jsonl"]
    in_the_middle(server, lambda: (tmp_path / name).write_text("another's"))
    result = embed(*asked)
    assert (result.returncode, (tmp_path / name).read_text()) == (1, "another's")
    assert f"{name} was created meanwhile; replace it with --overwrite" in result.err
    server.sizes.clear()
    result = embed(*asked, "--overwrite")
    assert (result.returncode, server.sizes) == (0, [])
    assert np.load(output)[:, 1].tolist() == list(range(ROWS))


@pytest.mark.parametrize("texts", [["a", "x", "c"], ["a", "b"], ["a", "b", "c", "d"], [], ["b", "a", "c"]])
def test_other_rows_than_were_embedded_are_never_published(tmp_path: Path, texts: list[str]) -> None:
    """Without a server: the command's last check of the rows."""
    from rawbert.serving.cli.files import BadFile
    from rawbert.serving.cli.files.inputs import Inputs
    from rawbert.serving.cli.files.job import Job
    from rawbert.serving.cli.files.source import Source

    def rows() -> list[Any]:
        return list(job.rows(Source(Inputs([str(tmp_path / "in.txt")]).open(tmp_path / "spool"))))

    with Job(tmp_path / "out.npy", {"model": "m"}) as job:
        vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
        job.append(zip("abc", vectors, [1, 1, 1], strict=True), lambda count: None)
        write_input(tmp_path / "in.txt", ["a", "b", "c"])
        np.testing.assert_array_equal(rows()[0][1], vectors)
        write_input(tmp_path / "in.txt", texts)
        with pytest.raises(BadFile):
            rows()
