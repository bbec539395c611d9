"""The start of a server program, failures of the start, and its end."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import base_paths
import grpc
import numpy as np
import pytest
import servers
from cases import Code, row, until


class Case:
    """A start that ends in failure.

    Args:
        row: words of the page.
        flags: function from the folder of the models and the case's own folder to flags.
        says: expected text on either stream.
        ours: expected text of rawbert serve, if it is different.
        goes_on: for cases in which tensorflow_model_server, unlike rawbert serve, does not end: ``False`` if it waits
            with its port closed, ``True`` if it ignores the fault and opens its port.
    """

    def __init__(
        self, row: str, flags: Callable[[Path, Path], list[str]], says: str = "", ours: str = "",
        goes_on: bool | None = None,
    ) -> None:  # fmt: skip
        self.row, self.flags, self.says, self.ours, self.goes_on = row, flags, says, ours, goes_on


def _half(paths: Path, *flags: str) -> list[str]:
    return [*base_paths.QUICK, "--model_name=half", f"--model_base_path={paths}/half", *flags]


def _file(own: Path, text: str) -> Path:
    own.mkdir()
    (own / "file").write_text(text)
    return own / "file"


def _batching(paths: Path, own: Path, text: str) -> list[str]:
    return _half(paths, "--enable_batching=true", f"--batching_parameters_file={_file(own, text)}")


def _config(own: Path, text: str) -> list[str]:
    return [*base_paths.QUICK, f"--model_config_file={_file(own, text)}"]


def _listed(paths: Path, labels: str) -> str:
    return f"model_config_list {{ {base_paths.config(paths, 'half', '', labels)} }}"


def _broken(paths: Path, own: Path, broken: str, sound: str) -> list[str]:
    base_paths.publish(paths / "half" / "1", own / "half", sound)
    (own / "half" / broken).mkdir()
    return _half(own)


CASES = {
    "no model": Case(
        "no model", lambda paths, own: ["--model_name=x"],
        "Both server_options.model_base_path and server_options.model_config_file are empty!",
        "give --model_base_path or --model_config_file",
    ),
    "a value that does not parse": Case(
        "a value that does not parse", lambda paths, own: _half(paths, "--grpc_max_threads=abc"),
        "Couldn't interpret value abc for flag grpc_max_threads.", "'abc' is not a valid integer",
    ),
    "an unknown flag": Case(
        "an unknown flag", lambda paths, own: _half(paths, "--no_such_flag=1"), "no_such_flag",
        goes_on=True,
    ),
    "parameters without batching": Case(
        "`--batching_parameters_file` without `--enable_batching`",
        lambda paths, own: _half(paths, f"--batching_parameters_file={paths}/batching"),
        "batching_parameters_file is set without setting server_options.enable_batching to true.",
        "--batching_parameters_file needs --enable_batching",
    ),
    "parameters that do not parse": Case(
        "batching parameters that do not parse", lambda paths, own: _batching(paths, own, "nonsense"),
        ours="it is not a BatchingParameters text proto",
    ),
    "sizes that do not end with the largest": Case(
        "`allowed_batch_sizes` that do not end with `max_batch_size`",
        lambda paths, own: _batching(paths, own, "max_batch_size { value: 8 } allowed_batch_sizes: 4"),
        "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
    ),
    "no batch threads": Case(
        "`num_batch_threads` of 0", lambda paths, own: _batching(paths, own, "num_batch_threads { value: 0 }"),
        ours="num_batch_threads must be at least 1",
    ),
    "a config that does not parse": Case(
        "a `--model_config_file` that does not parse", lambda paths, own: _config(own, "nonsense"),
        "Error parsing text-format tensorflow.serving.ModelServerConfig", "Invalid protobuf file",
    ),
    "a label at the start": Case(
        "a label at the start",
        lambda paths, own: _config(own, _listed(paths, 'version_labels { key: "a" value: 2 }')),
        "Request to assign label to version 2 of model half, which is not currently available for inference",
    ),
    "a relative base path": Case(
        "a relative `--model_base_path`", lambda paths, own: ["--model_name=half", "--model_base_path=half"],
        "Expected model half to have an absolute path or URI; got base_path()=half", "does not exist",
    ),
    "no base path": Case(
        "a base path that is missing or has no version", lambda paths, own: _half(own), ours="does not exist",
        goes_on=False,
    ),
    "a newest version that is broken": Case(
        "the newest version cannot be loaded", lambda paths, own: _broken(paths, own, "2", "1"),
        "1 servable(s) did not become available: {{{name: half version: 2} due to error: ",
    ),
    "a port that is taken": Case(
        "a port in use, without sharing",
        lambda paths, own: _half(paths, "--grpc_channel_arguments=grpc.so_reuseport=0"),
        "Failed to BuildAndStart gRPC server", "Address already in use",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def ends(program: Any, plain: Any, paths: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, str]]:
    """Exit status (``None`` if it continued to run) and output of each case; several run in parallel."""
    root = tmp_path_factory.mktemp("starts")

    def end(name: str) -> tuple[int | None, str]:
        case = CASES[name]
        port = int(plain.address.rpartition(":")[2]) if name == "a port that is taken" else None
        with servers.started(program, *case.flags(paths, root / name), port=port) as server:
            if case.goes_on is None or program.rawbert:
                return server.wait(), server.output()
            with suppress(AssertionError):
                until(lambda: server.listens() or server.process.poll() is not None, 60 if case.goes_on else 5)
            return server.process.poll(), f"listens: {server.listens()}\n{server.output()}"

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(CASES, pool.map(end, CASES), strict=True))


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("Start", CASES[name].row)) for name in CASES])
def test_a_start_that_fails(program: Any, ends: dict[str, tuple[int | None, str]], name: str) -> None:
    case = CASES[name]
    status, output = ends[name]
    if program.rawbert:
        # 1: it cannot start, 2: wrong usage.
        assert status in (1, 2), output
        assert (case.ours or case.says) in output
    elif case.goes_on is not None:
        assert status is None
        assert f"listens: {case.goes_on}" in output
        assert case.says in output
    else:
        assert status == 255, output
        assert case.says in output


@row("Start", "With `--version` it prints its own version and TensorFlow's")
def test_version(program: Any) -> None:
    result = subprocess.run([*program.command, "--version"], capture_output=True, text=True, check=True, timeout=60)
    first, second = result.stdout.splitlines()
    assert re.match(r"rawbert: " if program.rawbert else r"TensorFlow ModelServer: 2\.(20|21)\.0", first)
    library = version("tensorflow") if program.rawbert else first.partition(": ")[2].partition("-")[0]
    assert second.startswith(f"TensorFlow Library: {library}")


@row("Start", "reports that it runs when the models are loaded")
def test_from_start_to_end(program: Any, paths: Path, tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    flags = ["--model_name=m", f"--model_base_path={paths}/batchable", f"--grpc_socket_path={socket}"]
    with servers.running(program, *flags) as calls:
        assert calls.server is not None
        started, ports = calls.server, (calls.server.port, str(calls.rest).rpartition(":")[2])
        for says, number in zip(("Running gRPC ModelServer at ", "Exporting HTTP/REST API at:"), ports, strict=True):
            # The port is open a moment before.
            until(lambda says=says: says in started.output(), 10)  # type: ignore[misc]
            assert f":{number} ..." in started.output().partition(says)[2]
        with servers.Calls(f"unix:{socket}", program.rawbert) as local:
            assert local.array("m", "rows", "y", {"x": np.ones(2, "f4")}).tolist() == [2, 2]
        slow = servers.request("m", "slow", {"x": np.float32([40_000])})
        call = calls.prediction.Predict.future(slow, timeout=60)
        time.sleep(0.2)
        assert not call.done()
        calls.server.process.send_signal(signal.SIGTERM)
        if program.rawbert:  # Calls in flight are answered first.
            assert len(call.result().outputs["y"].float_val) == 1
            assert calls.server.wait() == 0
        else:
            assert isinstance(call.exception(), grpc.RpcError)
            assert call.code() is Code.UNAVAILABLE
            calls.server.wait()
