"""What all commands that ask a server share: which server and model is meant, options, headers. Each case on
`rawbert serve`'s server and on one made from the official stubs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import official_models
import pytest
from official_models import Official

ROOT = Path(__file__).parents[2]
RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]
BENCH = ["bench", "--callers", "1", "--seconds", "0.1", "--json"]


def rawbert(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RAWBERT, *arguments], capture_output=True, text=True, check=False, **settings)


def official(**models: Any) -> Official:
    return Official(models)


@pytest.fixture(scope="module")
def official_address() -> Iterator[str]:
    with official(text=official_models.EMBED) as server:
        yield server.address


@pytest.fixture(params=["rawbert serve", "official stubs"])
def address(request: pytest.FixtureRequest) -> str:
    """A server of the model ``text``, version 3."""
    if request.param == "rawbert serve":
        return request.getfixturevalue("text_server").address
    return request.getfixturevalue("official_address")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a models/models.config of the model ``text``."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "models.config").write_text(
        'model_config_list { config { name: "text" base_path: "/models/text" model_platform: "tensorflow" } }\n'
    )
    return tmp_path


@pytest.mark.parametrize("words", [["status"], ["metadata"], ["status", "--wait"], BENCH], ids=" ".join)
def test_the_model_of_models_config_need_not_be_named(address: str, folder: Path, words: list[str]) -> None:
    result = rawbert(*words, "--address", address, cwd=folder)
    assert result.returncode == 0, result.stderr


def test_the_only_model_of_a_server_need_not_be_named(text_server: Any, official_address: str, tmp_path: Path) -> None:
    result = rawbert("status", "-a", text_server.address, cwd=tmp_path)
    assert result.stdout == "text  version 3  AVAILABLE\n"
    # TensorFlow Serving does not say which models it has, but has a name of its own for one without a name.
    result = rawbert("status", "-a", official_address, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "give --model NAME, or RAWBERT_MODEL" in result.stderr
    with official(default=official_models.EMBED) as unnamed:
        assert rawbert("status", "-a", unnamed.address, cwd=tmp_path).stdout == "default  version 3  AVAILABLE\n"


def test_the_server_is_right_where_models_config_is_not(text_server: Any, folder: Path) -> None:
    file = folder / "models" / "models.config"
    for text in (file.read_text().replace('"text"', '"other"'), "no { config", ""):
        file.write_text(text)
        assert rawbert("status", "-a", text_server.address, cwd=folder).stdout.startswith("text  version 3")


def test_models_that_are_there_are_listed(folder: Path) -> None:
    file = folder / "models" / "models.config"
    config = file.read_text()
    inner = config[config.index("{") + 1 : config.rindex("}")]
    file.write_text(
        f"model_config_list {{ {inner.replace('text', 'one')} {inner.replace('text', 'two')} }}".replace("models/", "")
    )
    with official(one=official_models.EMBED, two=official_models.EMBED) as server:
        result = rawbert("status", "-a", server.address, cwd=folder)
        assert result.returncode == 2
        assert "lists one, two" in result.stderr
    result = rawbert("metadata", "-a", "127.0.0.1:1", "--timeout", "0.2", cwd=folder)
    assert (result.returncode, "nothing listens at 127.0.0.1:1" in result.stderr) == (1, True)


def test_a_name_that_is_wrong_is_answered_with_those_that_are_there(text_server: Any) -> None:
    result = rawbert("metadata", "-a", text_server.address, "-m", "txet")
    assert result.returncode == 1
    assert "the server has the models text" in result.stderr


@pytest.mark.parametrize("words", [["status"], ["metadata"], BENCH, ["embed", "a"]], ids=lambda words: words[0])
def test_headers_go_with_every_call(words: list[str]) -> None:
    headers = ["--header", "Authorization: Bearer a:b", "--header", "x-team:one"]
    with official(text=official_models.EMBED) as server:
        for model in (["-m", "text"], []):
            result = rawbert(*words, "-a", server.address, *model, *headers)
            assert result.returncode == (0 if model else 2)
        assert server.headers
        assert {(each.get("authorization"), each.get("x-team")) for each in server.headers} == {("Bearer a:b", "one")}


@pytest.mark.parametrize("header", ["nothing", "bad name:x", "name:\x01", "näme:x"])
def test_headers_that_cannot_be_sent_are_wrong_usage(header: str) -> None:
    result = rawbert("status", "--header", header)
    assert (result.returncode, result.stderr.startswith("error: Invalid value for '--header'")) == (2, True)


@pytest.mark.parametrize(
    ("signatures", "given", "says"),
    [
        (official_models.POOLED, [], None),
        (official_models.FOREIGN, [], None),
        (official_models.FOREIGN, ["--signature", "encode"], None),
        (
            {"a": ("x", (-1, 2)), "b": ("y", (-1, 3))},
            [],
            "choose one of --signature a --output-name x, --signature b",
        ),
        ({"a": ("x", (-1, 2)), "b": ("y", (-1, 3))}, ["--signature", "b"], None),
        ({"serving_default": ("tokens", (-1, -1, 3))}, [], "has no output with one float vector a text"),
    ],
)
def test_bench_takes_the_vectors_that_a_model_has(signatures: Any, given: list[str], says: str | None) -> None:
    with official(text=signatures) as server:
        result = rawbert(*BENCH, "-a", server.address, "-m", "text", *given)
    if says is None:
        assert result.returncode == 0, result.stderr
        (measured,) = json.loads(result.stdout)
        assert measured["failed"] == 0
    else:
        assert (result.returncode, says in result.stderr) == (2, True), result.stderr


def test_bench_of_an_encoder_without_embed(model_root: Path, tmp_path: Path) -> None:
    import toy_models
    from rawbert.serving.server import EmbeddedServer

    toy_models.save_text_model(tmp_path / "hub" / "1", omit=("embed",))
    with EmbeddedServer("hub", tmp_path / "hub") as server:
        result = rawbert(*BENCH, "-a", server.address)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)[0]["failed"] == 0


def commands() -> dict[str, click.Command]:
    from rawbert.serving.cli.app import COMMANDS, rawbert

    found = {name: rawbert.get_command(click.Context(rawbert), name) for name in COMMANDS}
    return {name: command for name, command in found.items() if command is not None}


def test_one_spelling_of_each_option() -> None:
    """Of all commands but serve, whose flags are tensorflow_model_server's, and finetune, whose rows have labels."""
    answering = {"embed", "classify", "tag", "rerank", "bench"}
    asking = {*answering, "verify", "status", "metadata"}
    options = {
        name: {param.opts[0]: param for param in command.params if isinstance(param, click.Option)}
        for name, command in commands().items()
        if name not in ("serve", "finetune")
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
        assert "--json" in own or name == "embed", name
        # An option of one name has one form everywhere.
        for option, param in own.items():
            others = [each[option].is_flag for each in options.values() if option in each]
            assert set(others) == {param.is_flag}, (name, option)


def test_old_spellings_are_understood(official_address: str) -> None:
    assert rawbert("embed", "-a", official_address, "-m", "text", "--max-batch-size", "1", "a", "b").returncode == 0
    for command in ("promote", "rollback", "verify"):
        assert "--label" in {option for param in commands()[command].params for option in param.opts}
        assert " --label" not in rawbert(command, "--help").stdout


def test_a_version_and_a_label_are_wrong_usage() -> None:
    for command in (["status"], ["metadata"], ["embed", "a"], ["bench"]):
        result = rawbert(*command, "--version", "3", "--version-label", "stable")
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("error: give --version or --version-label, not both (see rawbert ")


def test_python_runs_it_as_a_module() -> None:
    version = rawbert("--version").stdout
    assert version.startswith("rawbert ")
    command = [sys.executable, "-m", "rawbert", "-V"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout == version
