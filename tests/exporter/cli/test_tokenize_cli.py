"""``rawbert tokenize`` as a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()", "tokenize", "--encoder"]


def rawbert(folder: Path, *arguments: str | bytes) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "120"}
    command = [*RAWBERT, os.fspath(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_table(data: Path):
    done = rawbert(data / "tiny_bert", "unwanted café [MASK]\x01", "the cat", "--max-seq-length", "12")
    assert done.returncode == 0, done.stderr
    title, columns, *rows = (line.split() for line in done.stdout.splitlines())
    assert title[:4] == ["12", "tokens,", "cut", "from"]
    assert columns == ["at", "id", "token", "type", "start", "limit", "text"]
    assert rows[0] == ["0", "2", "[CLS]", "0"]
    assert rows[1] == ["1", "85", "un", "0", "0", "2", "un"]
    assert rows[-3:] == [["9", "76", "the", "1", "0", "3", "the"], ["10", "77", "cat", "1", "4", "7", "cat"],
                         ["11", "3", "[SEP]", "1"]]  # fmt: skip
    assert done.stderr == ""


def test_json_and_bytes_that_are_no_utf8(data: Path):
    from rawbert.serving.cli.app import rawbert as group

    # The interpreter's form of command-line bytes that are not UTF-8.
    text = os.fsdecode(b"the\xff cat")
    command = ["tokenize", "--encoder", str(data / "tiny_bert"), text, "--json", "--plain-text-special-tokens"]
    done = CliRunner().invoke(group, command)
    assert done.exit_code == 0, done.output
    state = json.loads(done.stdout)
    assert [(token["id"], token["start"], token["limit"]) for token in state["tokens"]] == [
        (2, -1, -1), (76, 0, 3), (77, 5, 8), (3, -1, -1),
    ]  # fmt: skip
    assert (state["token_count"], state["max_seq_length"]) == (4, 64)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["text", "--max-seq-length", "2"], 2, "2 is not in the range"),
        (["text", "--max-seq-length", "65"], 2, "give at most 64, the positions"),
        (["text", "--truncation-strategy", "only_first"], 2, "is for pairs of texts"),
        ([], 2, "Missing argument 'TEXT'"),
    ],
)
def test_refusals(data: Path, arguments: list[str], code: int, says: str):
    refused(data / "tiny_bert", *arguments, code=code, says=says)


def test_a_folder_that_is_not_there(tmp_path: Path):
    refused(tmp_path / "none", "text", code=1, says="no such folder")


def refused(folder: Path, *arguments: str, code: int, says: str) -> None:
    from rawbert.serving.cli.app import rawbert as group

    done = CliRunner(env={"COLUMNS": "120"}).invoke(group, ["tokenize", "--encoder", str(folder), *arguments])
    assert (done.exit_code, done.stdout, type(done.exception)) == (code, "", SystemExit)
    assert says in done.stderr
