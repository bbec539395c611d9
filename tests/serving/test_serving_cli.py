"""The command as a process: signals, pipes, exit codes, and its output for people."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command import RAWBERT, rawbert


@pytest.fixture
def query(text_server: Any) -> list[str]:
    return ["--address", text_server.address, "--model", "text"]


def texts(output: bytes) -> list[str]:
    return [json.loads(line)["text"] for line in output.decode().splitlines()]


def test_lines_of_standard_input_in_other_encodings(query: list[str]) -> None:
    result = rawbert("embed", *query, input=b"a\r\nb\xff\nc")
    assert (result.returncode, "standard input, line 2: not UTF-8" in result.err) == (1, True)
    result = rawbert("embed", *query, "--encoding", "latin-1", input=b"a\r\nb\xff\n")
    assert texts(result.stdout) == ["a", "bÿ"]
    result = rawbert("embed", *query, "--on-error", "skip", input=b"a\r\nb\xff\nc")
    assert texts(result.stdout) == ["a", "c"]


def test_embed_for_people(query: list[str]) -> None:
    result = rawbert("embed", *query, "--format", "text", "a")
    assert re.fullmatch(r"a\n  \[ *34\.3333,  1\.0000,  17\.1667\]  3 dimensions\n", result.stdout.decode())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "nope", "a"], "NOT_FOUND: Servable not found for request: Latest(nope)"),
        (["--signature", "nope", "a"], 'Serving signature key "nope" not found'),
        (["--version", "9", "a"], "Specific(text, 9)"),
        (
            ["--address", "127.0.0.1:1", "--timeout", "0.2", "a"],
            "nothing listens at 127.0.0.1:1",
        ),
        (["a\udcff"], "lone surrogate"),
    ],
)
def test_embed_that_fails_says_why_in_one_line(query: list[str], arguments: list[str], says: str) -> None:
    result = rawbert("embed", *query, *arguments)
    assert (result.returncode, result.stdout) == (1, b"")
    assert says in result.err
    assert len(result.err.splitlines()) == 1


def test_a_reader_that_goes_is_no_error_to_speak_of(query: list[str]) -> None:
    with subprocess.Popen(
        [*RAWBERT, "embed", *query], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"line\n" * 64)
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        try:
            process.stdin.write(b"line\n" * 10_000)
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.stderr.read() == b""


def test_interrupted(query: list[str]) -> None:
    with subprocess.Popen(
        [*RAWBERT, "embed", *query], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"line\n" * 64)
        process.stdin.flush()
        process.stdout.readline()  # It is at work now, and then waits for more lines.
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        assert process.returncode == 130
        assert b"Traceback" not in said


@pytest.mark.parametrize(
    ("flags", "says", "code"),
    [
        (["--model_base_path", "/nowhere/at/all"], "error: the base path /nowhere/at/all does not exist", 1),
        (["--model_base_path", "{text}/3"], "give its parent folder", 1),
        (["--model_base_path", "{text}", "--port", "{taken}"], "Address already in use", 1),
        (["--model_base_path", "{text}", "--host", "nowhere.invalid"], "cannot listen on nowhere.invalid", 1),
        (["--model_base_path", "{text}", "--grpc_socket_path", "{text}/no/s"], "its folder does not exist", 1),
        (["--model_base_path", "{text}", "--port", "abc"], "Invalid value for '--port'", 2),
        (["--model_base_path", "{text}", "--enable_nonsense"], "No such option: --enable_nonsense", 2),
        (["--use_alts_credentials"], "--use_alts_credentials of tensorflow_model_server is not supported", 2),
        ([], "give --model_base_path or --model_config_file", 1),
    ],
)
def test_serve_that_cannot_start(text_server: Any, model_root: Path, flags: list[str], says: str, code: int) -> None:
    given = [flag.format(text=model_root / "text", taken=text_server.port) for flag in flags]
    # Without TensorFlow: it is said at once.
    blocked = f"import sys; sys.modules['tensorflow.python'] = None; {RAWBERT[-1]}"
    result = subprocess.run(
        [*RAWBERT[:-1], blocked, "serve", "--host", "127.0.0.1", *given], capture_output=True, check=False
    )
    assert result.returncode == code
    said = result.stderr.decode()
    assert re.sub(r"['.:]", "", says) in re.sub(r"['.:]", "", said)
    assert "Traceback" not in said
