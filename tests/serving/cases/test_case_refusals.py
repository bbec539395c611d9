"""Faults are reported before any text is sent, with file and line; no files remain."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from command import SLOW_ON_THE_SECOND, process
from job_files import read_output

ROWS = 3000


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("in.jsonl", '{"text": null}\n', "line 2901: 'text' is null"),
        ("in.jsonl", '{"text": "1", "a": "word"}\n', "line 2901: the values of 'a' do not fit"),
        ("in.jsonl", '{"text": "1", "a": 12345678901234567890123}\n', "line 2901: the values of 'a' do not fit"),
        ("in.jsonl", '{"text": "1", "b": "\\ud800"}\n', "line 2901: the values of 'b' do not fit"),
        ("in.jsonl", '{"text": "1", "c": {}}\n', "the kept columns cannot be written as Parquet; write .jsonl: "),
        ("in.csv", "2900,1,2\n", "line 2902: 3 fields"),
    ],
)
def test_nothing_is_sent_before_all_of_it_was_looked_through(
    server: Any, embed: Any, tmp_path: Path, name: str, line: str, says: str
) -> None:
    rows = [f'{{"text": "{at}", "a": {at}}}\n' if name == "in.jsonl" else f"{at},{at}\n" for at in range(2900)]
    (tmp_path / name).write_text(("" if name == "in.jsonl" else "a,text\n") + "".join(rows) + line)
    result = embed("--keep-all", "-i", tmp_path / name, "-o", tmp_path / "out.parquet")
    assert (result.returncode, server.sizes) == (1, [])
    assert says in result.err
    assert os.listdir(tmp_path) == [name]


def test_kept_numbers_that_no_column_of_one_type_can_have(server: Any, embed: Any, tmp_path: Path) -> None:
    rows = [{"text": "1", "a": 2**60 + 1}] + [{"text": "1", "a": 0.5}] * 2000
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = embed("--keep-all", "-i", tmp_path / "in.jsonl", "-o", tmp_path / "out.parquet")
    assert (result.returncode, server.sizes) == (1, [])
    assert "line 2: the values of 'a'" in result.err
    result = embed("--keep-all", "-i", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["a"] == 2**60 + 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", "{}\n", "line 1: the object has no field 'text'"),
        ("a.jsonl", '{"text": "1"}\n{', "line 2: not JSON"),
        ("a.jsonl", '{"text": 1}\n', "is a int, not a text"),
        ("a.csv", "id,name\n1,2\n", "has the columns id, name, not 'text'"),
        ("a.csv", "id;text\n1;2\n", "separated by commas"),
        ("a.parquet", "no parquet", "a.parquet"),
        ("a.xml", "", "must end in"),
        ("a.csv", "", "is empty: CSV needs a first line with the names of its columns"),
        ("a.csv", b"id,text\n1,2\n3,\xff\n", "line 3: not UTF-8"),
        ("a.csv", "id,text\n1,2\n3\n", "line 3: 'text' is missing"),
        ("a.jsonl", b'{"text": "1"}\n{"text": "\xff"}\n', "line 2: not UTF-8"),
        ("a.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("a.parquet", "", "not a readable Parquet file"),
    ],
)
def test_bad_files_are_named(
    server: Any, embed: Any, tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    result = embed("--input", tmp_path / name, "--output", tmp_path / "out.npy")
    assert result.returncode in (1, 2)
    assert says in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "out.npy").exists()
    assert {path.name for path in tmp_path.iterdir()} == {name}
    assert server.sizes == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-i", "in.csv", "-o", "nowhere/out.npy"], "there is no folder"),
        (["-i", "in.csv", "--rows", "a.jsonl", "-o", "out.npy"], "--rows needs --keep"),
        (["-i", "in.csv", "--keep", "id", "--rows", "a.npy", "-o", "out.npy"], "must end in .jsonl"),
        (["-i", "in.csv", "--rows", "a.jsonl"], "need --output"),
        (["-i", "in.csv", "-o", "in.csv"], "must end in .npy"),
        (["-i", "in.jsonl", "-o", "in.jsonl"], "in.jsonl exists"),
        (["-i", "in.jsonl", "-o", "in.jsonl", "--overwrite"], "is in the input"),
        (["-i", "in.jsonl", "-o", "link.jsonl", "--overwrite"], "is in the input"),
        (["-i", ".", "-o", "out.jsonl", "--input-format", "text"], "is in the input"),
        (["-i", "loop.jsonl", "-o", "out.npy"], "loop.jsonl: Too many levels"),
        (["-i", "in.csv", "-o", "folder.npy"], "is a directory"),
        (["-i", "in.csv", "-o", "pipe.npy", "--overwrite"], "is not a regular file"),
        (["-i", "in.csv", "--encoding", "utf-9"], "unknown encoding: utf-9"),
        (["-i", "in.csv", "--encoding", "base64"], "not a text encoding"),
        (["-i", "in.csv", "--encoding", "idna"], "Invalid value for '--encoding'"),
        (["-i", "in.csv", "--encoding", "undefined"], "Invalid value for '--encoding'"),
        (["-i", "in.csv", "--delimiter", "::"], "give one character"),
        (["-i", "in.jsonl", "--delimiter", ";"], "are for CSV"),
        (["-i", "in.csv", "1"], "not both; quote a glob"),
        (["--keep", "id", "1"], "lines of text have no columns to keep"),
        (["-i", "in.csv", "--keep", "nope"], "has the columns id, text, embedding, not 'nope'; see --keep"),
        (["-i", "in.csv", "--keep-all"], "'embedding' cannot be kept"),
        (["--input-format", "parquet", "-o", "out.npy"], "standard input: not a readable Parquet file"),
        (["--input-format", "parquet"], "standard input: not a readable Parquet file"),
        (["-i", "nowhere.txt"], "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    server: Any, embed: Any, tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "in.csv").write_text("id,text,embedding\n1,2,3\n")
    (tmp_path / "in.jsonl").write_text('{"text": "1"}\n')
    (tmp_path / "link.jsonl").symlink_to("in.jsonl")
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "folder.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    there = set(tmp_path.iterdir())
    result = embed(*arguments, cwd=tmp_path, input=b"")
    assert result.returncode in (1, 2)
    assert says in result.said
    assert "Traceback" not in result.err
    assert server.sizes == []
    assert set(tmp_path.iterdir()) == there


def test_what_is_skipped_is_counted_and_listed(server: Any, embed: Any, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"text": "{at}"}}\n' if at % 100 else "{\n" for at in range(ROWS)))
    for output in ("out.npy", "out.jsonl", "out.parquet"):
        result = embed("-i", path, "-o", tmp_path / output, "--on-error", "skip")
        assert result.returncode == 0, result.err
        assert "skipped 30 rows" in result.err
        skipped = [json.loads(line) for line in (tmp_path / f"{output}.skipped.jsonl").read_text().splitlines()]
        assert [row["line"] for row in skipped] == [at + 1 for at in range(0, ROWS, 100)]
        assert read_output(tmp_path / output)[1][:, 1].tolist() == [at for at in range(ROWS) if at % 100]
    path.write_text('{"text": "1"}\n')
    assert embed("-i", path, "-o", tmp_path / "out.npy", "--overwrite").returncode == 0
    assert not (tmp_path / "out.npy.skipped.jsonl").exists()
    path.write_text('{"text": "1"}\n{\n{"text": "2"}\n')
    result = embed("-i", path, "--on-error", "skip")
    assert len(result.stdout.splitlines()) == 2
    assert "skipped 1 row" in result.err
    assert "in.jsonl, 2: not JSON" in result.err


def test_a_folder_that_cannot_be_written_to(server: Any, embed: Any, tmp_path: Path) -> None:
    (tmp_path / "out.npy.partial").mkdir()
    result = embed("-o", tmp_path / "out.npy", "1")
    assert (result.returncode, "Traceback" in result.err) == (1, False)
    assert "out.npy.partial: Is a directory" in result.err


@SLOW_ON_THE_SECOND
def test_output_is_utf8_whatever_the_locale(server: Any, tmp_path: Path) -> None:
    text = {"text": "1", "name": "ünï 日本 𝄞 \ud800", "\u00e9": "x"}
    (tmp_path / "in.jsonl").write_text(json.dumps(text) + "\n")
    command = ["embed", "-a", server.address, "-m", "m", "-i", str(tmp_path / "in.jsonl"), "--keep-all"]
    for settings in ({"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "utf-16", "PYTHONUTF8": "0"}):
        environment = {**os.environ, **settings}
        result = process(*command, env=environment)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout.decode("utf-8")) == {**text, "embedding": [1, 1]}
    assert process(*command, "-o", tmp_path / "out.jsonl", env=environment).returncode == 0
    assert json.loads((tmp_path / "out.jsonl").read_bytes().decode("utf-8")) == {**text, "embedding": [1, 1]}


def test_from_standard_input_and_arguments_to_a_file(server: Any, embed: Any, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert embed("--output", output, input=b"1\n2\n").returncode == 0
    assert read_output(output)[0] == ["1", "2"]
    assert embed("--output", output, "--overwrite", "3", "4").returncode == 0
    assert read_output(output)[0] == ["3", "4"]
    assert {path.name for path in tmp_path.iterdir()} == {"out.jsonl"}
