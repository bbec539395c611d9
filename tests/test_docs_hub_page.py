"""docs/how-to/coming-from-hub.md: every command of the page runs, with a Hub-format folder."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rawbert.serving.cli.app import rawbert

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "coming-from-hub.md"
HUB = ROOT / "tests" / "data" / "hub_bert"
BLOCK = re.compile(
    r"(?:<!-- raises: (?P<kind>\w+): (?P<text>.*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL
)
RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


#: Names on the page -> their replacement here; folders that the page writes are in a temporary one.
HERE = {"path/to/bert_en_uncased": str(HUB)}


@pytest.mark.slow
def test_every_form_on_the_page_does_what_the_page_says(tmp_path: Path) -> None:
    blocks = list(BLOCK.finditer(PAGE.read_text(encoding="utf-8")))
    assert sum(bool(block["kind"]) for block in blocks) == 7
    here = {**HERE, "path/to/my_classifier": str(tmp_path / "my_classifier"), "models/": f"{tmp_path / 'models'}/"}
    namespace: dict[str, object] = {}
    server: subprocess.Popen[str] | None = None

    def run(code: str) -> None:
        exec(compile(_replaced(code, here), str(PAGE), "exec"), namespace)

    try:
        for block in blocks:
            code = block["code"]
            if block["language"] == "sh":
                if server is not None:
                    _stop(server)
                export, serve = (shlex.split(_replaced(line, here))[1:] for line in code.strip().splitlines())
                server, here["localhost:8500"] = _export_and_serve(export, serve)
                of_hub = {name: np.asarray(namespace[name]) for name in ("pooled_output", "sequence_output")}
            elif block["kind"]:
                expected = {"ValueError": ValueError}[block["kind"]]
                with pytest.raises(expected, match=re.escape(block["text"])):
                    run(code)
            else:
                run(code)
                if "client.pooled" in code:
                    _require_layers_answers(namespace, of_hub)
    finally:
        if server is not None:
            _stop(server)
    assert server is not None
    answers: Any = namespace["answers"]
    probabilities: Any = namespace["probabilities"]
    np.testing.assert_allclose([each.scores["positive"] for each in answers], probabilities, rtol=0, atol=1e-5)
    assert [each.label for each in answers] == ["positive" if each > 0.5 else "negative" for each in probabilities]


def _require_layers_answers(namespace: dict[str, object], of_hub: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(namespace["pooled_output"], of_hub["pooled_output"], atol=1e-5)
    for row, tokens in enumerate(namespace["sequence_output"]):  # type: ignore[arg-type]
        np.testing.assert_allclose(tokens.vectors, of_hub["sequence_output"][row, : len(tokens)], atol=1e-5)


def _replaced(text: str, here: dict[str, str]) -> str:
    for named, place in here.items():
        text = text.replace(named, place)
    return text


def _export_and_serve(export: list[str], serve: list[str]) -> tuple[subprocess.Popen[str], str]:
    exported = CliRunner().invoke(rawbert, export)
    assert exported.exit_code == 0, exported.output
    serve = ["0" if word == "8500" else word for word in serve]
    server = subprocess.Popen([*RAWBERT, *serve, "--host", "127.0.0.1"], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    for line in server.stderr:
        if ready := re.search(r"Running gRPC ModelServer at (\S+)", line):
            return server, ready[1]
    raise AssertionError("the server did not start")


def _stop(server: subprocess.Popen[str]) -> None:
    server.send_signal(signal.SIGTERM)
    server.wait()
