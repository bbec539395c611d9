"""The server and model of a command, its options and headers, and waiting until a server is ready."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import official_models
import pytest
import toy_models
from command import rawbert
from official_server import Official
from watched import Gate

ROOT = Path(__file__).parents[3]
BENCH = ["bench", "--callers", "1", "--seconds", "0.1", "--json"]
ASKING = [["status"], ["metadata"], BENCH, ["embed", "a"]]


def official(**models: Any) -> Official:
    return Official(models)


TEXT = official_models.model(embed=("embedding", (-1, 3)), serving_default=("embedding", (-1, 3)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a models/models.config of the model ``text``."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "models.config").write_text(
        'model_config_list { config { name: "text" base_path: "/models/text" model_platform: "tensorflow" } }\n'
    )
    return tmp_path


@pytest.mark.parametrize("words", [*ASKING, ["status", "--wait"]], ids=" ".join)
def test_the_model_of_models_config_need_not_be_named(side: Any, folder: Path, words: list[str]) -> None:
    result = rawbert(*words, "--address", side.address, cwd=folder)
    assert result.returncode == 0, result.err


def test_the_only_model_of_a_server_need_not_be_named(text_server: Any, tmp_path: Path) -> None:
    """Both servers, which differ: TensorFlow Serving does not list its models."""
    result = rawbert("status", "-a", text_server.address, cwd=tmp_path)
    assert result.out == "text  version 3  AVAILABLE\n"
    with official(text=TEXT) as server:
        result = rawbert("status", "-a", server.address, cwd=tmp_path)
        assert (result.returncode, result.out) == (2, "")
        assert "give --model NAME, or RAWBERT_MODEL" in result.err
    # It uses a default name for a model without a name.
    with official(default=TEXT) as unnamed:
        assert rawbert("status", "-a", unnamed.address, cwd=tmp_path).out == "default  version 3  AVAILABLE\n"


def test_the_server_is_right_where_models_config_is_not(text_server: Any, folder: Path) -> None:
    """Only with `rawbert serve`, which lists its models."""
    file = folder / "models" / "models.config"
    for text in (file.read_text().replace('"text"', '"other"'), "no { config", ""):
        file.write_text(text)
        assert rawbert("status", "-a", text_server.address, cwd=folder).out.startswith("text  version 3")


def test_models_that_are_there_are_listed(side: Any, folder: Path) -> None:
    file = folder / "models" / "models.config"
    config = file.read_text()
    inner = config[config.index("{") + 1 : config.rindex("}")]
    file.write_text(f"model_config_list {{ {inner.replace('text', 'm')} {inner} }}".replace("models/", ""))
    result = rawbert("status", "-a", side.address, cwd=folder)
    assert result.returncode == 2
    known = "has the models arithmetic, hub, m, text" if side.name == "rawbert serve" else "lists m, text"
    assert known in result.err
    result = rawbert("metadata", "-a", "127.0.0.1:1", "--timeout", "0.2", cwd=folder)
    assert (result.returncode, "nothing listens at 127.0.0.1:1" in result.err) == (1, True)


@pytest.mark.parametrize("words", ASKING, ids=lambda words: words[0])
def test_a_name_that_is_wrong_is_answered_in_one_line(side: Any, words: list[str]) -> None:
    result = rawbert(*words, "-a", side.address, "-m", "txet")
    assert (result.returncode, result.out, len(result.err.splitlines())) == (1, "", 1)
    assert "txet" in result.err
    if side.name == "rawbert serve":  # TensorFlow Serving does not list its models.
        assert "the server has the models arithmetic, hub, m, text" in result.err


@pytest.mark.parametrize("words", ASKING, ids=lambda words: words[0])
def test_headers_go_with_every_call(server: Any, words: list[str], tmp_path: Path) -> None:
    words = [word if word != "a" else "1" for word in words]
    (tmp_path / "in.txt").write_text("1\n2\n")
    words += ["--input", "in.txt"] if words[0] == "bench" else []
    headers = ["--header", "Authorization: Bearer a:b", "--header", "x-team:one"]
    for model in (["-m", "m"], []):
        result = rawbert(*words, "-a", server.address, *model, *headers, cwd=tmp_path)
        assert result.returncode == (0 if model else 2), result.err
    assert server.headers
    assert {(each.get("authorization"), each.get("x-team")) for each in server.headers} == {("Bearer a:b", "one")}


@pytest.mark.slow
def test_verify_connects_as_the_others(tiny_bundle: Any) -> None:
    """Only with `rawbert serve`, because the answers of an export are compared."""
    from rawbert.serving.server import EmbeddedServer

    with EmbeddedServer("bert", tiny_bundle.base_path) as server, Gate(server.address) as gate:
        asked = ["verify", tiny_bundle.path, "--header", "authorization:Bearer x"]
        result = rawbert(*asked, "-a", gate.address)
        assert (result.returncode, result.err) == (0, ""), result.err
        assert set(gate.tokens) == {"Bearer x"}
        assert len(gate.tokens) == len(gate.headers) > 10
        result = rawbert(*asked, "-a", gate.address, "-m", "bert", "--version-label", "nope")
        assert (result.returncode, "label: nope" in result.err) == (1, True)


@pytest.mark.parametrize("header", ["nothing", "bad name:x", "name:\x01", "näme:x", "name-bin:x", "name:é"])
def test_headers_that_cannot_be_sent_are_wrong_usage(header: str) -> None:
    """Without a server: nothing is sent."""
    result = rawbert("status", "--header", header)
    assert (result.returncode, result.err.startswith("error: Invalid value for '--header'")) == (2, True)


def commands() -> dict[str, click.Command]:
    from rawbert.serving.cli.app import COMMANDS, rawbert

    found = {name: rawbert.get_command(click.Context(rawbert), name) for name in COMMANDS}
    return {name: command for name, command in found.items() if command is not None}


def test_one_spelling_of_each_option() -> None:
    """The options of all commands except those that serve, and finetune, whose rows have labels."""
    answering = {"embed", "classify", "tag", "rerank", "bench"}
    asking = {*answering, "verify", "status", "metadata"}
    options = {
        name: {param.opts[0]: param for param in command.params if isinstance(param, click.Option)}
        for name, command in commands().items()
        if name not in ("serve", "gateway", "up", "finetune")
    }
    for name in asking:
        own = {option: set(param.opts) for option, param in options[name].items()}
        assert own["--address"] == {"--address", "-a"}
        assert own["--model"] == {"--model", "-m"}
        assert {"--version", "--version-label", "--timeout", "--header", "--tls", "--tls-ca", "--tls-cert", "--tls-key",
                "--tls-server-name"} <= own.keys()  # fmt: skip
    shown = {option for own in options.values() for option in own}
    assert not shown & {"--label", "--max-batch-size", "--server", "--host"}
    assert {name for name, own in options.items() if "--batch-size" in own} == answering
    for name, own in options.items():
        # stack is a group, and certs makes files.
        assert "--json" in own or name in ("embed", "stack", "certs"), name
        # Options with the same name have the same form everywhere.
        for option, param in own.items():
            others = [each[option].is_flag for each in options.values() if option in each]
            assert set(others) == {param.is_flag}, (name, option)


def test_old_spellings_are_understood(side: Any) -> None:
    assert rawbert("embed", "-a", side.address, "-m", "text", "--max-batch-size", "1", "a", "b").returncode == 0
    for command in ("promote", "rollback", "verify"):
        assert "--label" in {option for param in commands()[command].params for option in param.opts}
        assert " --label" not in rawbert(command, "--help").out


def test_a_version_and_a_label_are_wrong_usage() -> None:
    """Without a server: nothing is sent."""
    for command in (["status"], ["metadata"], ["embed", "a"], ["bench"]):
        result = rawbert(*command, "--version", "3", "--version-label", "stable")
        assert (result.returncode, result.out) == (2, "")
        assert result.err.startswith("error: give --version or --version-label, not both (see rawbert ")


def test_python_runs_it_as_a_module() -> None:
    version = rawbert("--version").out
    assert version == rawbert("-V").out
    assert version.startswith("rawbert ")
    command = [sys.executable, "-m", "rawbert", "-V"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout == version


# --- Versions and labels, and readiness at the terminal ---


@pytest.mark.parametrize("words", [*ASKING, ["status", "--wait"]], ids=" ".join)
@pytest.mark.parametrize("which", [["--version", "3"], ["--version-label", "stable"]], ids=lambda which: which[0])
def test_a_version_or_its_label(side: Any, words: list[str], which: list[str]) -> None:
    result = rawbert(*words, "-a", side.address, "-m", "text", *which)
    assert result.returncode == 0, result.err
    if words[0] == "status":
        assert result.out == "text  version 3  AVAILABLE\n"


@pytest.mark.parametrize("words", ASKING, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("which", "says"), [(["--version", "9"], "9"), (["--version-label", "nope"], "label: nope")],
    ids=["version", "label"],
)  # fmt: skip
def test_a_version_or_a_label_that_is_not_there(side: Any, words: list[str], which: list[str], says: str) -> None:
    result = rawbert(*words, "-a", side.address, "-m", "text", *which)
    assert (result.returncode, result.out, len(result.err.splitlines())) == (1, "", 1)
    assert says in result.err


def test_readiness_at_the_terminal(side: Any) -> None:
    asked = ["status", "--wait", "-a", side.address, "-m", "text"]
    assert rawbert(*asked, "--timeout", "20").returncode == 0
    assert rawbert(*asked, "--version-label", "stable", "--timeout", "20").returncode == 0
    for which in (["--version-label", "nope"], ["--version", "9"]):
        late = rawbert(*asked, *which, "--timeout", "0.5")
        assert (late.returncode, late.out) == (1, "")
        assert "was not ready within 0.5 s" in late.err
    late = rawbert("status", "-m", "text", "--address", "127.0.0.1:1", "--wait", "--timeout", "0.5")
    assert (late.returncode, "was not ready within 0.5 s" in late.err) == (1, True)


def test_a_label_that_comes_late_is_waited_for() -> None:
    """Only with the official stubs: test_serve_start moves the labels of `rawbert serve`."""
    late = official_models.Model(TEXT.signatures, labels={})
    with official(text=late) as server:
        timer = threading.Timer(1, lambda: server.models.update(text=TEXT))  # type: ignore[attr-defined]
        timer.start()
        begun = time.monotonic()
        asked = ["status", "--wait", "-a", server.address, "-m", "text", "--version-label", "stable"]
        result = rawbert(*asked, "--timeout", "60")
        timer.join()
    assert result.out == "text  version 3  AVAILABLE\n", result.err
    assert 0.9 < time.monotonic() - begun < 30


def test_address_and_model_of_the_environment(side: Any) -> None:
    environment = {"RAWBERT_ADDRESS": side.address, "RAWBERT_MODEL": "text"}
    for words in ASKING:
        result = rawbert(*words, env=environment)
        assert result.returncode == 0, result.err
    # What is given has precedence.
    result = rawbert("status", "-m", "txet", env=environment)
    assert (result.returncode, "txet" in result.err) == (1, True)


def test_status_and_metadata(side: Any) -> None:
    query = ["-a", side.address, "-m", "text"]
    assert rawbert("status", *query).out == "text  version 3  AVAILABLE\n"
    assert json.loads(rawbert("status", *query, "--json").stdout) == [
        {"version": 3, "state": "AVAILABLE", "error_code": 0, "error_message": ""}
    ]
    shown = rawbert("metadata", *query).out
    assert "text  string [batch]" in shown
    assert "embedding  float32 [batch, 3]" in shown
    assert "sequence_output  float32 [batch, tokens, 4]" in shown
    assert "__saved_model_init_op" not in shown
    model = json.loads(rawbert("metadata", *query, "--json").stdout)
    assert model["signatures"]["pooled"]["outputs"]["pooled_output"]["shape"] == [-1, 4]


def test_lines_and_arguments(side: Any) -> None:
    query = ["embed", "-a", side.address, "-m", "text"]
    asked = ["héllo", "", "two\nlines", "日本 𝄞"]
    result = rawbert(*query, *asked)
    assert (result.returncode, result.err) == (0, "")
    for line, text in zip(result.stdout.splitlines(), asked, strict=True):
        found = json.loads(line)
        assert found["text"] == text
        # Every digit that float32 has.
        np.testing.assert_allclose(np.float32(found["embedding"]), toy_models.embedding(text.encode()), rtol=1e-6)
    lines = [f"line {at}" for at in range(150)] + ["", "no newline at the end"]
    result = rawbert(*query, input="\n".join(lines).encode())
    assert result.returncode == 0, result.err
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == lines
    assert rawbert(*query, input=b"").stdout == b""
