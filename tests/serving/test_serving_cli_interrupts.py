"""Ctrl-C at any moment of any command: no traceback, a visible cursor, no temporary files, exit code 130."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import terminal

ROOT = Path(__file__).parents[2]
RAWBERT = [sys.executable, str(ROOT / "rawbert" / "__main__.py")]


def test_ctrl_c_is_pressed_twice(tmp_path: Path) -> None:
    """A second signal must not prevent the first one's removal of temporary files."""
    code = (
        "import os, signal, sys, time\n"
        "from rawbert.serving import cli\n"
        "def work():\n"
        "    try:\n"
        "        open('scratch', 'w').close()\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(0.1)\n"
        "        os.remove('scratch')\n"
        "cli._run = work\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr, os.listdir(tmp_path)) == (130, "", [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_while_it_waits_for_a_server(number: signal.Signals) -> None:
    command = [*RAWBERT, "status", "--wait", "-m", "m", "-a", "127.0.0.1:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        time.sleep(2)
        process.send_signal(number)
        output, said = process.communicate(timeout=20)
    assert (process.returncode, output) == (130, b"")
    assert b"Traceback" not in said


def test_what_is_switched_off_stays_so() -> None:
    """Signals that nohup, or a shell for a background job, has switched off."""
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from rawbert.serving import cli\n"
        "cli._run = lambda: [signal.raise_signal(each) for each in (signal.SIGHUP, signal.SIGINT)] and 0\n"
        "cli.main()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bench_that_is_interrupted_shows_what_it_has(text_server: Any) -> None:
    words = ["bench", "-a", text_server.address, "-m", "text", "--callers", "1,2,3", "--seconds", "1"]
    ended = terminal.run([*RAWBERT, *words], interrupt=lambda written, seconds: "3 callers" in written)
    assert (ended.code, ended.cursor_is_visible) == (130, True)
    assert "Traceback" not in ended.plain
    lines = [line.split() for line in ended.plain.splitlines()]
    assert [line[0] for line in lines if len(line) == 8] == ["1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_at_any_moment(seed: int, text_server: Any, tiny_bundle: Any, data: Path, tmp_path: Path) -> None:
    rng = random.Random(seed)
    encoder, server = str(data / "tiny_bert"), ["-a", text_server.address, "-m", "text"]
    # Embedding them takes longer than the delay on a fast machine too.
    (tmp_path / "texts.txt").write_text("".join(f"text {at}\n" for at in range(120_000)))
    # Arguments, and seconds that the command takes at most.
    commands: list[tuple[list[str], float]] = [
        (["export", encoder, "-o", "models/m"], 15),
        (["tokenize", "--encoder", encoder, "a text"], 8),
        (["verify", str(tiny_bundle.path)], 9),
        (["inspect", str(tiny_bundle.path)], 1.5),
        (["check", str(tiny_bundle.path)], 1.5),
        (["versions", str(tiny_bundle.base_path)], 1.5),
        (["serve", "--model_base_path", str(tiny_bundle.base_path), "--port", "0"], 9),
        (["embed", *server], 2),
        (["embed", *server, "-i", str(tmp_path / "texts.txt"), "-o", "out.npy"], 2),
        (["bench", *server, "--callers", "1,8", "--seconds", "1"], 4),
        (["metadata", *server], 1),
        (["--help"], 0.5),
    ]
    for words, most in commands:
        work, scratch = tmp_path / words[0] / "work", tmp_path / words[0] / "scratch"
        for folder in (work, scratch):
            folder.mkdir(parents=True, exist_ok=True)
        # The start of Python itself, before any code of rawbert, takes some hundredths of a second.
        delay, times = 0.1 + rng.random() * most, rng.choice([1, 1, 2])
        ended = terminal.run(
            [*RAWBERT, *words], cwd=work, environment={"TMPDIR": str(scratch)},
            interrupt=lambda _, seconds, delay=delay, times=times: times if seconds > delay else 0,
        )  # fmt: skip
        where = f"{words} after {delay:.2f} s: {ended.code} {ended.plain[-2000:]}"
        assert ended.code == 130 or (ended.code == 0 and (words[0] == "serve" or not ended.seconds)), where
        assert "Traceback" not in ended.plain, where
        assert "Exception ignored" not in ended.plain, where
        assert ended.cursor_is_visible, where
        assert ended.seconds < 15, where
        assert [path for path in scratch.rglob("*") if path.is_file()] == [], where
        left = {path.name for path in work.iterdir()}
        if words[0] == "export":
            assert ended.code == 0 or left == set(), where
        else:
            # The file from which a job of `embed` continues.
            assert left <= {"out.npy", "out.npy.partial", "out.npy.partial.json"}, where


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_the_demo_while_it_verifies(times: int, tmp_path: Path) -> None:
    """As in a terminal: make, the demo, the export and its verifying process are one process group."""
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    work.mkdir()
    scratch.mkdir()
    first: list[float] = []

    def interrupt(written: str, seconds: float) -> int:
        if "verifying the SavedModel" in written and not first:
            first.append(seconds)
        return times if first and seconds > first[0] + 1 else 0

    command = [sys.executable, str(ROOT / "examples" / "demo.py")]
    ended = terminal.run(command, cwd=work, environment={"TMPDIR": str(scratch)}, interrupt=interrupt)
    assert (ended.code, ended.cursor_is_visible) == (130, True), ended.plain
    assert "Traceback" not in ended.plain
    assert "error: interrupted; nothing was written" in ended.plain
    assert list(work.iterdir()) == []
    assert [path for path in scratch.rglob("*") if path.is_file()] == []
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(scratch) not in running
