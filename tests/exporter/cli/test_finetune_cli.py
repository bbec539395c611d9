"""``rawbert finetune`` as a command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


@pytest.fixture
def train(tmp_path: Path) -> Path:
    rows = [f"the {'cat sat' if at % 2 else 'dog run'} {'on the mat ' * (at % 5)},{'ab'[at % 2]}" for at in range(60)]
    path = tmp_path / "train.csv"
    path.write_text("\n".join(["text,label", *rows, ""]))
    return path


def command(data: Path, train: Path, *more: str) -> list[str]:
    words = ["finetune", str(data / "tiny_bert"), "--train", str(train), "--output", str(train.parent / "run")]
    return [*RAWBERT, *words, "--batch-size", "8", "--learning-rate", "0.003", *more]


@pytest.mark.slow
def test_what_it_shows_and_ctrl_c(data: Path, train: Path):
    process = subprocess.Popen(
        command(data, train, "--epochs", "200", "--patience", "200"), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("- step 140"):
            process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert lines[0] == f"- reading {data / 'tiny_bert'}\n"
    assert "of 1400 steps are saved, and the model of epoch" in lines[-1]
    assert "the same command continues from there" in lines[-1]
    state = train.parent / "run" / "checkpoints" / "state.safetensors"
    assert state.is_file()

    done = subprocess.run(
        command(data, train, "--epochs", "2", "--restart"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "trained   2 epochs in" in done.stdout
    assert "macro_f1" in done.stdout
    assert f"export    rawbert export {train.parent}/run --output models/run" in done.stdout
    assert not state.exists()


def test_errors_come_before_tensorflow(data: Path, train: Path):
    from click.testing import CliRunner
    from rawbert.serving.cli.app import rawbert

    arguments = command(data, train)[3:]
    cases = [
        (["--label", "class"], 1, "has the columns text, label, not 'class'"),
        (["--task", "score"], 1, "task score needs a number"),
        (["--epochs", "0"], 2, "epochs is 0"),
        (["--max-seq-length", "900"], 2, "give at most 64"),
    ]
    for more, code, message in cases:
        result = CliRunner().invoke(rawbert, [*arguments, *more])
        assert (result.exit_code, message in result.output.replace("\n", " ")) == (code, True), result.output


def test_json(data: Path, train: Path):
    from click.testing import CliRunner
    from rawbert.serving.cli.app import rawbert

    words = command(data, train, "--epochs", "1", "--freeze-encoder", "--json")[3:]
    done = CliRunner().invoke(rawbert, words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["labels"] == ["a", "b"]
    assert said["metrics"]["macro_f1"] == said["history"][0]["macro_f1"]
