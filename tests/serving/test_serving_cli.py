"""The command line, as processes, against the embedded server."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_models

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


def rawbert(*arguments: str | bytes, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*RAWBERT, *arguments], capture_output=True, check=False, **settings)


@contextmanager
def serving(base_path: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``rawbert serve`` on a free port, ready: the process and its address."""
    command = [*RAWBERT, "serve", "--model_base_path", str(base_path), "--host", "127.0.0.1", "--port", "0", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if ready := re.match(r"Running gRPC ModelServer at (127\.0\.0\.1:\d+) \.\.\.$", line):
                    yield process, ready.group(1)
                    break
            else:
                pytest.fail("the server did not start")
        finally:
            process.kill()


@pytest.fixture
def query(text_server: Any) -> list[str]:
    return ["--address", text_server.address, "--model", "text"]


def vectors(output: bytes) -> list[tuple[str, list[float]]]:
    return [(each["text"], each["embedding"]) for each in map(json.loads, output.decode().splitlines())]


def test_embed_arguments(query: list[str]) -> None:
    result = rawbert("embed", *query, "héllo", "", "two\nlines")
    assert (result.returncode, result.stderr) == (0, b"")
    for (text, vector), asked in zip(vectors(result.stdout), ["héllo", "", "two\nlines"], strict=True):
        assert text == asked
        # Every digit that float32 has.
        np.testing.assert_array_equal(np.float32(vector), toy_models.embedding(asked.encode()))


def test_embed_lines_of_standard_input(query: list[str]) -> None:
    lines = [f"line {at}" for at in range(150)] + ["", "no newline at the end"]
    result = rawbert("embed", *query, input="\n".join(lines).encode())
    assert result.returncode == 0, result.stderr
    assert [text for text, _ in vectors(result.stdout)] == lines
    assert rawbert("embed", *query, input=b"").stdout == b""
    result = rawbert("embed", *query, input=b"a\r\nb\xff\nc")
    assert (result.returncode, b"standard input, line 2: not UTF-8" in result.stderr) == (1, True)
    result = rawbert("embed", *query, "--encoding", "latin-1", input=b"a\r\nb\xff\n")
    assert [text for text, _ in vectors(result.stdout)] == ["a", "bÿ"]
    result = rawbert("embed", *query, "--on-error", "skip", input=b"a\r\nb\xff\nc")
    assert [text for text, _ in vectors(result.stdout)] == ["a", "c"]


def test_embed_for_people(query: list[str]) -> None:
    result = rawbert("embed", *query, "--format", "text", "a")
    assert re.fullmatch(r"a\n  \[ *34\.3333,  1\.0000,  17\.1667\]  3 dimensions\n", result.stdout.decode())


def test_embed_another_signature(query: list[str]) -> None:
    assert rawbert("embed", *query, "--signature", "serving_default", "a").returncode == 0


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
        ([b"a\xff"], "lone surrogate"),
    ],
)
def test_embed_that_fails_says_why_in_one_line(query: list[str], arguments: list[str | bytes], says: str) -> None:
    result = rawbert("embed", *query, *arguments)
    assert (result.returncode, result.stdout) == (1, b"")
    assert says in result.stderr.decode()
    assert len(result.stderr.splitlines()) == 1


def test_address_and_model_of_the_environment(query: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    given = dict(zip(query[::2], query[1::2], strict=True))
    monkeypatch.setenv("RAWBERT_ADDRESS", given["--address"])
    monkeypatch.setenv("RAWBERT_MODEL", given["--model"])
    assert rawbert("embed", "a").returncode == 0
    assert rawbert("status").returncode == 0
    assert rawbert("bench", "--callers", "1", "--seconds", "0.1").returncode == 0


def test_readiness_at_the_terminal(query: list[str]) -> None:
    assert rawbert("status", *query, "--wait", "--timeout", "20").returncode == 0
    label = rawbert("status", *query, "--wait", "--version-label", "nope", "--timeout", "0.5")
    assert label.returncode == 1
    assert b"was not ready within 0.5 s" in label.stderr
    assert rawbert("status", "--address", "127.0.0.1:1", "--wait", "--timeout", "0.5").returncode == 1


def test_the_version_of_the_command() -> None:
    assert rawbert("-V").stdout == rawbert("--version").stdout != b""


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


def test_status_and_metadata(query: list[str]) -> None:
    assert rawbert("status", *query).stdout == b"text  version 3  AVAILABLE\n"
    assert json.loads(rawbert("status", *query, "--json").stdout) == [
        {"version": 3, "state": "AVAILABLE", "error_code": 0, "error_message": ""}
    ]
    shown = rawbert("metadata", *query).stdout.decode()
    assert "text  string [batch]" in shown
    assert "embedding  float32 [batch, 3]" in shown
    assert "__saved_model_init_op" not in shown
    model = json.loads(rawbert("metadata", *query, "--json").stdout)
    assert model["signatures"]["pooled"]["outputs"]["pooled_output"]["shape"] == [-1, 4]


def test_serve_as_default(model_root: Path) -> None:
    """The model name that both sides take when none is given; and an end without a call."""
    with serving(model_root / "text") as (process, address):
        assert rawbert("embed", "--address", address, "a").returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        assert process.stderr
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("flags", "says", "code"),
    [
        (["--model_base_path", "/nowhere/at/all"], "error: the base path /nowhere/at/all does not exist", 1),
        (["--model_base_path", "{text}/3"], "give the folder above it", 1),
        (["--model_base_path", "{text}", "--port", "{taken}"], "Address already in use", 1),
        (["--model_base_path", "{text}", "--host", "nowhere.invalid"], "cannot listen on nowhere.invalid", 1),
        (["--model_base_path", "{text}", "--grpc_socket_path", "{text}/no/s"], "its folder does not exist", 1),
        (["--model_base_path", "{text}", "--port", "abc"], "Invalid value for '--port'", 2),
        (["--model_base_path", "{text}", "--enable_nonsense"], "No such option: --enable_nonsense", 2),
        (["--rest_api_port=8501"], "--rest_api_port of tensorflow_model_server is not supported", 2),
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
