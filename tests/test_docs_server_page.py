"""The examples of docs/reference/server.md: its HTTP requests return the answers on the page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow_serving", reason="the embedded server needs the server extra")

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "server.md"


def _examples() -> list[tuple[str, str]]:
    """Each request on the page, and its answer if the page shows one."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## REST\n")[2].partition("\n## Limits")[0]
    found = re.findall(r"```sh\n(.*?)```\n(?:\n```json\n(.*?)```)?", section, re.DOTALL)
    return [(line, shown) for block, shown in found for line in block.splitlines() if line.startswith("curl ")]


@pytest.fixture(scope="module")
def port(tiny_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    import socket

    from rawbert.serving.server import EmbeddedServer

    monitoring = tmp_path_factory.mktemp("monitoring") / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    flags = {"rest_api_port": number, "monitoring_config_file": str(monitoring), "enable_model_warmup": False}
    with EmbeddedServer("minilm", tiny_bundle.path.parent, **flags):
        yield number


def test_there_are_examples() -> None:
    assert len(_examples()) == 5


@pytest.mark.skipif(not shutil.which("curl"), reason="the examples are of curl")
@pytest.mark.parametrize(("command", "shown"), _examples())
def test_an_example_answers(port: int, command: str, shown: str) -> None:
    asked = command.replace("curl ", "curl --silent --show-error --fail ", 1).replace(":8501/", f":{port}/")
    answer = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, timeout=60).stdout
    if command.endswith("/metrics"):
        assert "\n# TYPE :tensorflow:serving:request_count counter\n" in answer
        return
    found = json.loads(answer)
    if shown:
        # The page leaves out only numbers.
        assert _shape(found) == _shape(json.loads(shown.replace("...", "0")))


def _shape(value: Any) -> Any:
    """Names of members, and numbers of rows."""
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items()}
    return len(value)
