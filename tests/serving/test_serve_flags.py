"""The flags of rawbert serve, compared with those of the corresponding release of TensorFlow Serving, and its log."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from command import RAWBERT, rawbert
from rawbert.serving.cli import flags as tables
from rawbert.serving.cli.serve import serve

RELEASE = {flag["name"]: flag for flag in tables.known_flags()}
REFUSED = sorted(set(RELEASE) - set(tables.APPLIED) - set(tables.IGNORED) - {"version"})
#: A value other than the default, by type.
OTHER = {"bool": "{}", "string": "x", "float": "0.5", "int32": "7", "int64": "7"}


def _other(name: str) -> str:
    flag = RELEASE[name]
    return OTHER[flag["type"]].format(str(not flag["default"]).lower())


def _parsed(*arguments: str) -> tuple[dict[str, Any], list[str]]:
    """The parsed values by name, and the flags without effect."""
    # A command keeps the help option of its first context, which must be that of `rawbert`.
    context = serve.make_context("serve", list(arguments), help_option_names=["-h", "--help"])
    return context.params, context.obj or []


def test_every_flag_of_the_release_is_applied_noted_or_refused_and_no_other_is_there() -> None:
    assert len(RELEASE) == 48
    assert not set(tables.APPLIED) & set(tables.IGNORED)
    assert set(tables.APPLIED) | set(tables.IGNORED) <= set(RELEASE)
    options = {option.removeprefix("--") for parameter in serve.params for option in parameter.opts}
    assert options == set(RELEASE) | {"host", "log_format", "models", "-v", "verbose"}
    assert {parameter.name for parameter in serve.params if not getattr(parameter, "hidden", False)} == {
        *tables.APPLIED, "host", "log_format", "models", "verbose", "version",
    }  # fmt: skip


def test_defaults_are_those_of_the_release() -> None:
    from rawbert.serving.server.options import ServerOptions

    fields = {field.name: field.default for field in dataclasses.fields(ServerOptions)}
    assert set(fields) == {*tables.APPLIED, "host"}
    values, _ = _parsed()
    differing = {name for name in tables.APPLIED if values[name] != RELEASE[name]["default"]}
    # On purpose: see docs/reference/server.md.
    assert differing == {"max_num_load_retries"}
    # In Python the default port is 0: any free port.
    assert {name for name in tables.APPLIED if values[name] != fields[name]} == {"port"}


@pytest.mark.parametrize("name", tables.APPLIED)
def test_a_flag_that_is_applied_is_read(name: str) -> None:
    values, noted = _parsed(f"--{name}={_other(name)}")
    assert str(values[name]).lower() == _other(name).lower()
    assert not noted


@pytest.mark.parametrize("name", tables.IGNORED)
def test_a_flag_that_means_nothing_here_is_noted(name: str) -> None:
    values, noted = _parsed(f"--{name}={_other(name)}")
    assert noted == [name]
    assert name not in values
    default = RELEASE[name]["default"]
    if default is not None:  # The default writes no log.
        assert _parsed(f"--{name}={str(default).lower()}")[1] == []


@pytest.mark.parametrize("name", REFUSED)
def test_a_flag_that_is_not_supported_is_refused_by_name(name: str) -> None:
    with pytest.raises(click.UsageError, match=f"--{name} of tensorflow_model_server is not supported"):
        _parsed(f"--{name}={_other(name)}")


@pytest.mark.parametrize("arguments", ["--no_such_flag=1", "--enable-batching", "-p", "folder another_folder"])
def test_what_is_no_flag_is_refused(arguments: str) -> None:
    with pytest.raises(click.UsageError):
        _parsed(*arguments.split())


@pytest.mark.parametrize(
    ("argument", "value"),
    [("--enable_batching", True), ("--enable_batching=true", True), ("--enable_batching=false", False),
     ("--enable_batching=0", False)],
)  # fmt: skip
def test_switches_are_written_as_there(argument: str, value: bool) -> None:
    assert _parsed(argument)[0]["enable_batching"] is value


def test_values_may_stand_apart() -> None:
    assert _parsed("--port", "8600")[0]["port"] == 8600


def test_the_log_as_json(model_root: Path) -> None:
    """The default of the model's name, too, is that of both programs."""
    command = [
        *(*RAWBERT, "serve", "--log_format=json"),
        *("--host=127.0.0.1", "--port=0", f"--model_base_path={model_root / 'm'}"),
        "--num_unload_threads=2",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if "Running gRPC ModelServer" in line:
                    break
            (address,) = re.findall(r"ModelServer at (127\.0\.0\.1:\d+) \.\.\.", line)
            assert json.loads(rawbert("embed", "--address", address, "7").stdout)["embedding"] == [4, 7]
            process.send_signal(signal.SIGTERM)
            rest, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, rest) == (0, "")
    # The other lines are from TensorFlow's C++ code, which has its own format.
    entries = [json.loads(line) for line in [*lines, *errors.splitlines()] if line.startswith("{")]
    assert all(entry.keys() == {"time", "level", "logger", "message"} for entry in entries)
    messages = {(entry["level"], entry["message"]) for entry in entries}
    assert ("WARNING", "--num_unload_threads has no effect in rawbert serve") in messages
    assert ("INFO", "Serving default version 4") in messages
    assert any(message.startswith("Running gRPC ModelServer at 127.0.0.1:") for _, message in messages)
    assert any(message.startswith("Stopping") for _, message in messages)


@pytest.mark.parametrize(
    ("session", "intra", "inter", "threads"),
    [(0, 0, 0, (0, 0)), (3, 0, 0, (3, 3)), (3, 1, 0, (1, 0)), (0, 1, 2, (1, 2))],
)
def test_threads(session: int, intra: int, inter: int, threads: tuple[int, int]) -> None:
    from rawbert.serving.server.options import ServerOptions

    options = ServerOptions(
        tensorflow_session_parallelism=session,
        tensorflow_intra_op_parallelism=intra,
        tensorflow_inter_op_parallelism=inter,
    )
    assert options.parallelism == threads


def test_all_flags_of_threads_at_once_are_refused(model_root: Path) -> None:
    from rawbert.serving.server import EmbeddedServer, StartError

    flags = ("session", "intra_op", "inter_op")
    with pytest.raises(StartError, match="not all"):
        EmbeddedServer("m", model_root / "arithmetic", **{f"tensorflow_{name}_parallelism": 1 for name in flags})
