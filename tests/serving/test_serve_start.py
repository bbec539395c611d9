"""The start of ``rawbert serve``: labels, base paths of containers, the address and the output."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rawbert.serving import Client, ServerFault

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]
FLAG = "--allow_version_labels_for_unavailable_models"
#: The lines that the command prints, and its log.
OWN = re.compile(
    r"(Loading|Serving|Running|Stopping)\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ (INFO|WARNING|ERROR) rawbert\.\S+: "
)


def config(models: str, label: str = "", base: str = "/models") -> str:
    labels = f'version_labels {{ key: "{label}" value: 3 }}' if label else ""
    entries = (
        f'config {{ name: "{name}" base_path: "{base}/{name}" model_platform: "tensorflow" {labels} }}'
        for name in models.split()
    )
    return f"model_config_list {{ {' '.join(entries)} }}"


@pytest.fixture
def models(model_root: Path, tmp_path: Path) -> Path:
    """A folder of models as an export writes it: ``text`` has a label, and its base path is one of a container."""
    shutil.copytree(model_root / "text" / "3", tmp_path / "models" / "text" / "3")
    (tmp_path / "models" / "models.config").write_text(config("text", "stable"))
    return tmp_path / "models"


def serve(*arguments: str) -> subprocess.Popen[str]:
    """Run the command as a user does, without TensorFlow's settings in the environment."""
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    command = [*RAWBERT, "serve", "--port", "0", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def until_ready(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stderr is not None
    for line in process.stderr:
        yield line
        if line.startswith("Running"):
            return


def test_a_folder_of_models_on_this_machine_alone_and_in_silence(models: Path) -> None:
    with serve(str(models)) as process:
        lines = list(until_ready(process))
        (address,) = re.findall(r"Running gRPC ModelServer at (127\.0\.0\.1:\d+) \.\.\.$", lines[-1])
        with Client(address, model="text", version_label="stable") as client:
            assert client.embed(["a"]).shape == (1, 3)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        lines += process.stderr
    assert process.returncode == 0
    assert [line for line in lines if not OWN.match(line)] == []


@pytest.mark.slow
def test_verbose_prints_what_tensorflow_logs(models: Path) -> None:
    with serve(str(models), "-v") as process:
        lines = list(until_ready(process))
        process.kill()
    assert [line for line in lines if not OWN.match(line)] != []


def test_chatter_is_dropped_and_nothing_else() -> None:
    kept = ["F0000 00:00:1.5 12 a.cc:3] Check failed: x", "an error", "Fatal Python error: Aborted", "I am no log line"]
    dropped = [
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        "I0000 00:00:1795926872.205066   14772 mlir_graph_optimization_pass.cc:437] MLIR V1 optimization pass is off",
        "E0000 00:00:1795926872.205066   14772 cuda_fft.cc:467] Unable to register cuFFT factory",
        "2026-11-29 04:34:29.770001: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.",
        "2026-11-29 04:34:29.770001: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow binary is",
        "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow",
    ]
    lines = "".join(f"{line}\n" for pair in zip(dropped, [*kept, "x", "y"], strict=True) for line in pair)
    code = (
        "import os, sys; from rawbert.serving.cli.tensorflow_log import drop_chatter; drop_chatter()\n"
        f"print('from Python', file=sys.stderr)\nos.write(2, {lines.encode()!r})\nos.abort()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGABRT
    assert sorted(done.stderr.splitlines()) == sorted([*kept, "x", "y", "from Python"])


def test_labels_need_the_flag_and_the_error_names_it(models: Path) -> None:
    with serve("--model_config_file", str(models / "models.config")) as process:
        assert process.stderr is not None
        *_, last = process.stderr
    assert process.returncode == 1
    said = "Request to assign label to version 3 of model text, which is not currently available for inference"
    assert last.startswith(f"error: {said}")
    assert FLAG in last


def test_reload_takes_what_the_start_takes(model_root: Path, models: Path) -> None:
    from rawbert.serving.server import EmbeddedServer

    (models / "models.config").write_text(config("text"))
    shutil.copytree(model_root / "text" / "3", models / "other" / "3")
    starts = ({"model_config_file": str(models / "models.config")}, {"base_path": models / "text"})
    for start in starts:
        with EmbeddedServer("text", **start) as server, Client(server.address, model="other") as client:
            client.reload_config(config("text other"))
            assert client.status()[0].state == "AVAILABLE"
            client.reload_config(config("text other", "stable"))  # The version is available now.
            assert client.embed(["a"], version_label="stable").shape == (1, 3)
            with pytest.raises(ServerFault, match=FLAG):
                client.reload_config(config("text other", "new").replace("value: 3", "value: 9"))
            # A path that does not exist remains an error.
            with pytest.raises(Exception, match="/models/nope does not exist"):
                client.reload_config(config("text nope"))
