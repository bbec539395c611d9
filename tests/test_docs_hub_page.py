"""docs/coming-from-hub.md: every form on the page is run, on a Hub-format folder."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rawbert.serving.cli.app import rawbert

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coming-from-hub.md"
HUB = ROOT / "tests" / "data" / "hub_bert"
BLOCK = re.compile(
    r"(?:<!-- raises: (?P<kind>\w+): (?P<text>.*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL
)
RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


def _run(code: str, namespace: dict[str, object]) -> None:
    exec(compile(code.replace("path/to/bert_en_uncased", str(HUB)), str(PAGE), "exec"), namespace)


def test_every_form_on_the_page_does_what_the_page_says(tmp_path: Path) -> None:
    blocks = list(BLOCK.finditer(PAGE.read_text(encoding="utf-8")))
    assert sum(bool(block["kind"]) for block in blocks) == 4
    namespace: dict[str, object] = {}
    server: subprocess.Popen[str] | None = None
    try:
        for block in blocks:
            code = block["code"]
            if block["language"] == "sh":
                export, serve = (shlex.split(line)[1:] for line in code.strip().splitlines())
                server, address = _export_and_serve(export, serve, tmp_path)
                hub_outputs = {name: np.asarray(namespace[name]) for name in ("pooled_output", "sequence_output")}
            elif block["kind"]:
                expected = {"ValueError": ValueError}[block["kind"]]
                with pytest.raises(expected, match=re.escape(block["text"])):
                    _run(code, namespace)
            elif "localhost:8500" in code:
                _run(code.replace("localhost:8500", address), namespace)
            else:
                _run(code, namespace)
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            server.wait()
    assert server is not None
    np.testing.assert_allclose(namespace["pooled_output"], hub_outputs["pooled_output"], atol=1e-5)
    for row, tokens in enumerate(namespace["sequence_output"]):  # type: ignore[arg-type]
        np.testing.assert_allclose(tokens.vectors, hub_outputs["sequence_output"][row, : len(tokens)], atol=1e-5)


def _export_and_serve(export: list[str], serve: list[str], folder: Path) -> tuple[subprocess.Popen[str], str]:
    local = {"path/to/bert_en_uncased": str(HUB), "models/bert": str(folder / "bert"), "8500": "0"}
    exported = CliRunner().invoke(rawbert, [local.get(word, word) for word in export])
    assert exported.exit_code == 0, exported.output
    command = [*RAWBERT, *(local.get(word, word) for word in serve), "--host", "127.0.0.1"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    for line in server.stderr:
        if ready := re.search(r"Running gRPC ModelServer at (\S+)", line):
            return server, ready[1]
    raise AssertionError("the server did not start")
