"""Rolling restarts: drain.sh with processes that drop their calls at SIGTERM, as TensorFlow Serving does."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from rawbert.serving import Client
from rawbert.serving.wire.protos import PredictRequest, PredictResponse

DRAIN = Path(__file__).parents[2] / "deploy" / "serving" / "drain.sh"
GATE = Path(__file__).with_name("watched.py")
#: TensorFlow Serving's image has dash.
SHELLS = ["dash", pytest.param("bash", marks=pytest.mark.slow)]
#: A server that prints "ready", and answers each request after half a second; SIGTERM ends it during a call.
SLOW = """
import socket, sys, threading, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
def answer(call):
    call.recv(1)
    time.sleep(0.5)
    call.sendall(b"answer")
    call.close()
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(command: Sequence[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process group that has printed that it is ready."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
        start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def asked(port: int) -> Callable[[], bytes]:
    """Begin a call to SLOW; returns a function that waits for the answer."""
    call = socket.create_connection(("127.0.0.1", port), timeout=30)
    call.sendall(b"?")

    def answer() -> bytes:
        with call:
            return call.recv(100)

    return answer


@pytest.mark.parametrize("shell", SHELLS)
def test_calls_are_answered_before_the_server_gets_sigterm(shell: str, tmp_path: Path) -> None:
    port, mark = free_port(), tmp_path / "draining"
    mark.touch()  # of a container that was killed
    slow = [sys.executable, "-c", SLOW, str(port)]
    with started([shell, str(DRAIN), *slow], DRAIN_SECONDS="2", DRAINING=str(mark)) as process:
        assert not mark.exists()
        first = asked(port)
        time.sleep(0.2)
        process.terminate()
        began = time.monotonic()
        while not mark.exists():
            assert time.monotonic() - began < 30
            time.sleep(0.01)
        later = asked(port)  # of a caller who does not know yet
        assert first() == later() == b"answer"
        assert process.wait(timeout=30) == 128 + signal.SIGTERM  # the server's own status, as a shell says it
        assert time.monotonic() - began >= 0.9
        with pytest.raises(OSError, match="refused"):
            asked(port)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_second_signal_ends_the_pause(shell: str, tmp_path: Path) -> None:
    slow = [sys.executable, "-c", SLOW, str(free_port())]
    with started([shell, str(DRAIN), *slow], DRAIN_SECONDS="600", DRAINING=str(tmp_path / "mark")) as process:
        process.terminate()
        while not (tmp_path / "mark").exists():
            time.sleep(0.01)
        process.terminate()
        assert process.wait(timeout=30) == 128 + signal.SIGTERM


@pytest.mark.parametrize("shell", SHELLS)
def test_a_server_that_ends_by_itself_ends_the_wrapper_with_its_status(shell: str, tmp_path: Path) -> None:
    environment = {"DRAINING": str(tmp_path / "mark"), "PATH": os.environ["PATH"]}
    for command, status in ((["sh", "-c", "exit 7"], 7), ([str(tmp_path / "absent")], 127)):
        done = subprocess.run([shell, str(DRAIN), *command], env=environment, capture_output=True, check=False)
        assert done.returncode == status
    environment["DRAIN_SECONDS"] = "10s"
    done = subprocess.run([shell, str(DRAIN), "true"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "DRAIN_SECONDS is 10s: give whole seconds\n")
    assert not (tmp_path / "mark").exists()


class Callers:
    """Threads that make calls until they are stopped, and the results."""

    def __init__(self, call: Callable[[int], None], threads: int = 4) -> None:
        self.count, self.failed = 0, list[BaseException]()
        self._call, self._stop = call, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(at,)) for at in range(threads)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, at: int) -> None:
        while not self._stop.is_set():
            try:
                self._call(at)
            except Exception as error:
                self.failed.append(error)
            self.count += 1


class Server:
    """A gate to a real server that drops its calls at SIGTERM, with or without the pause of drain.sh."""

    def __init__(self, target: str, mark: Path, seconds: int | None) -> None:
        self.port, self.mark, self.seconds = free_port(), mark, seconds
        self.address = f"127.0.0.1:{self.port}"
        self._command = [sys.executable, str(GATE), str(self.port), target, "0.3"]
        self._stack = ExitStack()
        #: The orchestrator's view of each server: it is up, and was not told to end.
        self.is_ready = False

    def start(self) -> None:
        wrapped = [] if self.seconds is None else ["/bin/sh", str(DRAIN)]
        environment = {"DRAINING": str(self.mark), "DRAIN_SECONDS": str(self.seconds)}
        self.process = self._stack.enter_context(started([*wrapped, *self._command], **environment))
        self.is_ready = True

    def stop(self) -> None:
        """Replace a server like an orchestrator: send SIGTERM, and about then send new callers to other servers."""
        self.process.terminate()
        time.sleep(0.5)
        self.is_ready = False
        self.process.wait(timeout=60)
        self._stack.close()

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def servers(text_server: Any, tmp_path: Path) -> Iterator[Callable[[int | None], list[Server]]]:
    with ExitStack() as stack:

        def make(seconds: int | None) -> list[Server]:
            both = [Server(text_server.address, tmp_path / f"draining-{at}", seconds) for at in (1, 2)]
            for server in both:
                stack.callback(server.close)
                server.start()
            return both

        yield make


def plain_caller(servers: list[Server], request: bytes) -> Callable[[int], None]:
    """A caller without retries: plain gRPC, and a load balancer that uses only ready servers."""
    method = "/tensorflow.serving.PredictionService/Predict"

    def call(at: int) -> None:
        server = random.choice([server for server in servers if server.is_ready])
        with grpc.insecure_channel(server.address) as channel:
            answer = channel.unary_unary(method)(request, timeout=30)
        assert PredictResponse.FromString(answer).outputs

    return call


def a_request() -> bytes:
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "text", "embed"
    request.inputs["text"].dtype = 7
    request.inputs["text"].tensor_shape.dim.add().size = 1
    request.inputs["text"].string_val.append(b"a text")
    return bytes(request.SerializeToString())


def test_a_rolling_restart_of_two_servers_fails_no_call(text_server: Any, servers: Any) -> None:
    both = servers(2)
    with Client(text_server.address, model="text") as client:
        expected = client.embed(["a text", "another"])

    with Client([server.address for server in both], model="text", timeout=60) as client:

        def embed(at: int) -> None:
            np.testing.assert_array_equal(client.embed(["a text", "another"]), expected)

        with Callers(embed) as ours, Callers(plain_caller(both, a_request())) as plain:
            for server in both:
                time.sleep(0.5)
                server.stop()
                server.start()
            time.sleep(0.5)
    assert ours.failed == plain.failed == []
    assert min(ours.count, plain.count) > 20


def test_without_the_pause_calls_are_lost(servers: Any) -> None:
    """The failures that the test above would find."""
    both = servers(None)
    with Callers(plain_caller(both, a_request()), threads=8) as plain:
        time.sleep(0.5)
        both[0].stop()
    assert plain.failed
    assert {error.code() for error in plain.failed} == {grpc.StatusCode.UNAVAILABLE}  # type: ignore[attr-defined]
