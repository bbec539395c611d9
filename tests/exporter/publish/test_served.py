"""The server serves exports unchanged, and follows promote, rollback and new versions."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rawbert.exporter.publish import versions
from rawbert.exporter.publish.bundle import Staging
from rawbert.serving import Client, InvalidRequest

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


def publish(bundle: Any, folder: Path) -> None:
    """Publish a further version, like the end of an export."""
    with Staging(folder, None, False) as staging:
        shutil.copytree(bundle.path, staging.folder, dirs_exist_ok=True)
        versions.publish(staging, folder.parent / "models.config", folder, "bert", "/models")


def rawbert(*arguments: Any) -> str:
    from rawbert.serving.cli.app import rawbert as group

    result = CliRunner().invoke(group, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def served(tiny_bundle: Any, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The folder of a model with two versions, the first of them stable; a server's address."""
    folder = tmp_path / "models" / "bert"
    publish(tiny_bundle, folder)
    publish(tiny_bundle, folder)
    rawbert("promote", folder, 1)
    command = [*RAWBERT, "serve", str(folder.parent), "--host=127.0.0.1", "--port=0"]
    command += ["--model_config_file_poll_wait_seconds=1"]
    log = tmp_path / "log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, stderr=stream, text=True)
    try:
        found = None
        while found is None and server.poll() is None:
            time.sleep(0.05)
            found = re.search(r"Running gRPC ModelServer at (\S+) \.\.\.", log.read_text())
        assert found is not None, log.read_text()
        assert f"/models/bert is not on this machine: bert is read from {folder}" in log.read_text()
        yield folder, found[1]
    finally:
        server.terminate()
        server.wait()


def answers(client: Client, version: int) -> None:
    """Wait until a version answers a client. A new label is unknown until the server has read models.config."""
    until, found = time.monotonic() + 60, None
    while found != version:
        assert time.monotonic() < until, f"still version {found}"
        with contextlib.suppress(InvalidRequest):
            found = client.predict({"text": [b"hello"]}, signature_name="embed").model_version


def test_labels_are_followed(served: tuple[Path, str], tiny_bundle: Any) -> None:
    folder, address = served
    with Client(address, model="bert") as newest, Client(address, model="bert", version_label="stable") as stable:
        answers(newest, 2)
        answers(stable, 1)
        rawbert("promote", folder, 2)
        answers(stable, 2)
        rawbert("rollback", folder)
        answers(stable, 1)
        publish(tiny_bundle, folder)
        answers(newest, 3)
        rawbert("promote", folder, 3, "--label", "canary")
        answers(stable, 1)
        rawbert("prune", folder, "--keep", 1)  # 2 is neither labelled nor where a rollback leads
        with Client(address, model="bert", version_label="canary") as canary:
            answers(canary, 3)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "3"]
    for label in ("stable", "canary"):
        assert "equal" in rawbert("verify", folder, "--address", address, "--label", label)
