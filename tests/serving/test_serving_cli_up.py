"""``rawbert up``: its export, processes, output, and files after its end."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command import RAWBERT, Done, free_ports, rawbert
from standin_docker import NO_ENGINE, Docker

GATE = Path(__file__).with_name("watched.py")
CONFIG = """model_config_list {
  config { name: "text" base_path: "/models/text" model_platform: "tensorflow" }
}
"""


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Docker]:
    docker = Docker(tmp_path / "bin")
    yield docker
    docker.close()


@pytest.fixture
def up(tmp_path: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """``rawbert up`` in a folder with ``models/text``, on free ports."""
    version = tmp_path / "home" / "models" / "text" / "3"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    (tmp_path / "home" / "models" / "models.config").write_text(CONFIG)
    for name in ("COMPOSE_PROFILES", "DOCKER_HOST", "RAWBERT_GRPC_PORT", "RAWBERT_REST_PORT"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: Any, ports: list[int]) -> Done:
        options = ["--port", ports[0], "--rest-port", ports[1]]
        return rawbert("up", *arguments, *options, cwd=tmp_path / "home", env={"PATH": docker.path})

    return run


def test_by_compose_it_waits_for_an_answer_and_says_how_to_call(
    up: Callable[..., Done], docker: Docker, text_server: Any, tmp_path: Path
) -> None:
    ports = free_ports(2)
    docker.set(then=[sys.executable, str(GATE), str(ports[0]), text_server.address])
    done = up("models", ports=ports)
    assert done.returncode == 0, done.err
    (call,) = docker.calls
    assert call["command"] == ["up", "--detach"]
    wanted = {"RAWBERT_GRPC_PORT": str(ports[0]), "RAWBERT_REST_PORT": str(ports[1]), "COMPOSE_PROFILES": "cpu"}
    assert wanted.items() <= call["settings"].items()
    assert call["settings"]["RAWBERT_MODELS"] == str(tmp_path / "home" / "models")
    assert f"text answers at localhost:{ports[0]}" in done.out
    assert f"curl http://localhost:{ports[1]}/v1/models/text:predict" in done.out
    assert "rawbert stack down" in done.out
    # The Python example in its output is a complete program.
    program = "\n".join(line[2:] for line in done.out.splitlines() if re.match(r"  (from|with|    )", line))
    compile(program, "printed", "exec")


def test_what_goes_wrong_is_said(up: Callable[..., Done], docker: Docker) -> None:
    ports = free_ports(2)
    docker.set(engine=NO_ENGINE)
    done = up("models", "--by", "compose", ports=ports)
    assert (done.returncode, "start it" in done.said) == (1, True)
    docker.set(up=17)
    done = up("models", ports=ports)
    assert (done.returncode, "docker compose up failed, with status 17" in done.said) == (1, True)
    docker.set()
    done = up("models", "--wait", "1", ports=ports)
    assert (done.returncode, "see rawbert stack logs for the reason" in done.said) == (1, True)
    done = up("models", "--name", "txet", ports=ports)
    assert (done.returncode, "has no model txet: choose from text" in done.said) == (1, True)
    done = up("models", "--profile", "observability", ports=ports)
    assert (done.returncode, "no profile serves a model" in done.said) == (1, True)
    with socket.create_server(("127.0.0.1", ports[0])):
        done = up("models", ports=ports)
    assert (done.returncode, f"port {ports[0]} of 127.0.0.1" in done.said) == (1, True)
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("./all-MiniLM-L6-v2/", "all-MiniLM-L6-v2"),
        ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        ("https://example.org/a/bert_en.tar.gz?download=1", "bert_en"),
        ("my model (1).zip", "my-model-1"),
        ("classifier.keras", "classifier"),
        ("C:\\models\\bert", "bert"),
        ("größer", "größer"),
        ("///", "model"),
    ],
)
def test_the_model_is_named_after_its_source(source: str, name: str) -> None:
    from rawbert.exporter.cli.up import named

    assert named(source) == name


def test_the_same_source_is_not_exported_again(tiny_bundle: Any, data: Path, tmp_path: Path) -> None:
    from rawbert.exporter.cli.up import is_of

    made, source = tiny_bundle.manifest, tmp_path / "source"
    shutil.copytree(data / "tiny_bert", source)
    shutil.copytree(data / "tiny_pooling" / "mean_dense_normalize", source, dirs_exist_ok=True)
    nothing = {"revision": None, "precision": None, "max_seq_length": None}
    length = made["recipe"]["max_seq_length"]
    for settings, same in (
        ({}, True), ({"precision": "float32"}, True), ({"precision": "bfloat16"}, False),
        ({"max_seq_length": length}, True), ({"max_seq_length": length - 1}, False),
    ):  # fmt: skip
        assert is_of(made, str(source), {**nothing, **settings}) is same
    config = source / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "more": 1}))
    assert not is_of(made, str(source), nothing)
    config.unlink()
    assert not is_of(made, str(source), nothing)
    hub = {**made, "source": {**made["source"], "origin": "huggingface", "handle": "owner/tiny", "revision": "abc"}}
    assert is_of(hub, "owner/tiny", nothing)
    assert is_of(hub, "owner/tiny", {**nothing, "revision": "abc"})
    assert not is_of(hub, "owner/tiny", {**nothing, "revision": "def"})
    assert not is_of(hub, "owner/other", nothing)
    assert not is_of({}, "owner/tiny", nothing)


@contextmanager
def running(*arguments: Any, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """``rawbert up`` in its own process."""
    command = [*RAWBERT, "up", *map(str, arguments), "--by", "serve"]
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)


def said_until(process: subprocess.Popen[str], last: str) -> str:
    assert process.stdout is not None
    lines = []
    while not lines or lines[-1].strip() != last:
        line = process.stdout.readline()
        assert line, "".join(lines)
        lines.append(line)
    return "".join(lines)


@pytest.mark.slow
def test_from_a_checkpoint_to_an_answer_and_back(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "tiny one"
    shutil.copytree(data / "tiny_bert", source)
    shutil.copytree(data / "tiny_pooling" / "mean_dense_normalize", source, dirs_exist_ok=True)
    for run in (1, 2, 3):
        ports = free_ports(2)
        if run == 3:
            (source / "README.md").write_text("no part of the checkpoint")
            shutil.copytree(data / "tiny_pooling" / "cls", source, dirs_exist_ok=True)
        with running(source.name, "--port", ports[0], "--rest-port", ports[1], cwd=tmp_path) as process:
            said = said_until(process, "Ctrl-C stops it.")
            assert f"tiny-one answers at localhost:{ports[0]}" in said
            (curl,) = (line for line in said.splitlines() if line.startswith("  curl"))
            answer = subprocess.run(shlex.split(curl), capture_output=True, text=True, check=True).stdout
            assert len(json.loads(answer)["outputs"]) == 1
            (line,) = (line for line in said.splitlines() if line.startswith("  rawbert"))
            done = subprocess.run([*RAWBERT, *shlex.split(line)[1:]], capture_output=True, text=True, check=True)
            assert len(json.loads(done.stdout)["embedding"]) > 1
            examined = ["doctor", f"localhost:{ports[0]}", "--rest", f"localhost:{ports[1]}", "--json"]
            done = subprocess.run([*RAWBERT, *examined], capture_output=True, text=True, check=False, cwd=tmp_path)
            (found,) = json.loads(done.stdout)["servers"]
            assert done.returncode == 0, [each for each in found["checks"] if each["advice"]]
            assert {"rest", "clock", "metrics"} <= {each["check"] for each in found["checks"] if each["level"] == "ok"}
            after = said.partition(line)[2].splitlines()
            program = "\n".join(text[2:] for text in after if re.match(r"  (from|with|    )", text))
            subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
            began = time.monotonic()
            process.send_signal(signal.SIGINT if run == 1 else signal.SIGTERM)
            _, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            assert time.monotonic() - began < 50
            assert ("not exported again" in err) == (run == 2)
            assert "Traceback" not in err
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", ports[0]))
    assert sorted(os.listdir(tmp_path / "models" / "tiny-one")) == ["1", "2"]


@pytest.mark.slow
def test_an_interrupted_or_failed_export_leaves_nothing(data: Path, tmp_path: Path) -> None:
    with running(data / "tiny_bert", "--name", "m", cwd=tmp_path) as process:
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 130, err
        assert "Traceback" not in err
    assert not list(tmp_path.glob("models/m/*"))
    with running("absent", cwd=tmp_path) as process:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1
        assert err.count("error:") == 1
