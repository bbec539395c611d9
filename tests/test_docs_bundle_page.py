"""docs/reference/bundle.md: its commands run as they are written, one after the other."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


def blocks() -> list[list[list[str]]]:
    """The commands of the page's blocks; those of Docker left out."""
    page = (ROOT / "docs" / "reference" / "bundle.md").read_text(encoding="utf-8")
    lines = (block.splitlines() for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    return [[shlex.split(line, comments=True)[1:] for line in block if line.startswith("rawbert ")] for block in lines]


@pytest.fixture
def folder(tiny_bundle: Any, data: Path, tmp_path: Path) -> Path:
    """A working folder as the page has it: a checkpoint, and a model with four versions."""
    shutil.copytree(data / "tiny_bert", tmp_path / "all-MiniLM-L6-v2")
    shutil.copytree(data / "tiny_pooling" / "mean_dense_normalize", tmp_path / "all-MiniLM-L6-v2", dirs_exist_ok=True)
    for version in range(1, 5):
        shutil.copytree(tiny_bundle.path, tmp_path / "models" / "minilm" / str(version))
    return tmp_path


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run([*RAWBERT, *words], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def test_labels(folder: Path) -> None:
    (block,) = (each for each in blocks() if ["versions"] in each)
    said = [run(words, folder) for words in block]
    assert [words[0] for words in block] == ["versions", "promote", "promote", "promote", "rollback", "prune"]
    assert "stable is now 3 (was 4)" in said[4]
    assert "removed  1" in said[5]


@pytest.mark.slow
def test_everything_in_order(folder: Path) -> None:
    server: subprocess.Popen[str] | None = None
    address, ran = "", []
    try:
        for words in (words for block in blocks() for words in block):
            if words[0] == "serve":
                words = [word.replace("8500", "0") for word in words]
                server = subprocess.Popen([*RAWBERT, *words], stderr=subprocess.PIPE, text=True, cwd=folder)
                assert server.stderr is not None
                address = next(line.split()[4] for line in server.stderr if line.startswith("Running"))
            else:
                run([word.replace("localhost:8500", address) for word in words], folder)
            ran.append(words[0])
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            server.communicate()
    assert {"versions", "promote", "rollback", "prune", "serve", "verify", "export"} <= set(ran)
