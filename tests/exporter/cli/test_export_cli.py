"""``rawbert export`` as a command: output, exit codes, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


def rawbert(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run([*RAWBERT, *arguments], capture_output=True, text=True, check=False, env=environment)


def test_what_it_shows(data: Path, tmp_path: Path) -> None:
    done = rawbert("export", str(data / "tiny_bert"), "--output", str(tmp_path / "my model"), "--pooling", "mean")
    assert done.returncode == 0, done.stderr
    for shown in (
        "embed (serving_default)", "[batch, tokens, 32]", "verified  sequence.sequence_output: largest difference",
        f"written   {tmp_path}/my model/1",
        f"{tmp_path}/models.config: my model, for the server in /models/my model; calls without a version get",
        f"serve     rawbert serve {tmp_path} --port 8500\n", f"RAWBERT_MODELS={tmp_path} docker compose up",
    ):  # fmt: skip
        assert shown in done.stdout
    assert "- verifying the SavedModel in a fresh process\n" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_json(data: Path, tmp_path: Path) -> None:
    from rawbert.serving.cli.app import rawbert as group

    arguments = ["export", str(data / "tiny_bert"), "-o", str(tmp_path / "m"), "--signatures", "tokenize", "--json"]
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code == 0, done.output
    state = json.loads(done.stdout)
    assert (state["path"], state["version"], state["name"]) == (str(tmp_path / "m" / "1"), 1, "m")
    assert state["manifest"]["signatures"].keys() == {"tokenize", "serving_default"}
    assert state["models_config"]["file"] == str(tmp_path / "models.config")
    assert (state["models_config"]["name"], state["models_config"]["base_path"]) == ("m", "/models/m")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["no/such", "--output", "m"], 1, "no such folder"),
        (["~nouser/m", "--output", "m"], 1, "~nouser/m: there is no such user"),
        (["{tiny}", "--output", "~nouser/m"], 2, "output is '~nouser/m'"),
        (["{tiny}"], 2, "Missing option '--output'"),
        (["{tiny}", "--output", "m", "--max-seq-length", "2"], 2, "give at least 3"),
        (["{tiny}", "--output", "m", "--max-seq-length", "65"], 2, "give at most 64, the positions"),
        (["{tiny}", "--output", "m", "--signatures", "nope"], 2, "'nope' is unknown; choose from classify"),
        (["{tiny}", "--output", "m", "--encoder-impl", "nope"], 2, "'nope' is not one of"),
        (["{tiny}", "--output", "m", "--version", "-1"], 2, "give a number from 0 to"),
    ],
)
def test_refusals(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str
) -> None:
    from rawbert.serving.cli.app import rawbert as group

    monkeypatch.chdir(tmp_path)
    words = [word.replace("{tiny}", str(data / "tiny_bert")) for word in arguments]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(group, ["export", *words])
    assert (done.exit_code, type(done.exception)) == (code, SystemExit)
    assert says in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("step", "number"),
    [
        pytest.param("reading", signal.SIGINT, marks=pytest.mark.slow),
        ("loading", signal.SIGTERM),
        pytest.param("building", signal.SIGINT, marks=pytest.mark.slow),
        ("verifying", signal.SIGINT),
        pytest.param("verifying", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_leaves_nothing(data: Path, tmp_path: Path, step: str, number: signal.Signals) -> None:
    command = [*RAWBERT, "export", str(data / "tiny_bert"), "--output", str(tmp_path / "models" / "m")]
    # A terminal sends Ctrl-C to the whole foreground group, so the verifying process also gets it.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        said = _until(process, f"- {step}")
        time.sleep(0.3)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        said += process.stderr.read()  # type: ignore[union-attr]
    assert process.returncode == 130, said
    assert said.endswith("error: interrupted; nothing was written\n")
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == []


def _until(process: Any, beginning: str) -> str:
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith(beginning):
            return said
    raise AssertionError(f"it never came to {beginning!r}: {said}")
