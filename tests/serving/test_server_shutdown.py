"""The shutdown of ``rawbert serve`` while a call is in flight."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import wire

SERVE = [sys.executable, "-c", "from rawbert.serving.cli import main; main()", "serve"]


@contextmanager
def busy(base_path: Path, steps: int) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """A server process, and a started call to it that takes ``steps``."""
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    flags = ["--model_name", "m", "--model_base_path", str(base_path), "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen([*SERVE, *flags], stderr=subprocess.PIPE, text=True) as process:
        try:
            address = _line(process, r"Running gRPC ModelServer at (\S+) \.\.\.$")

            def request(count: int) -> Any:
                asked = predict_pb2.PredictRequest()
                asked.model_spec.name = "m"
                asked.model_spec.signature_name = "slow"
                content = wire.field(4, wire.LENGTH, np.int32([count]).tobytes())
                asked.inputs["steps"].MergeFromString(wire.tensor(3, (1,), content))
                return asked

            with grpc.insecure_channel(address) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                stub.Predict(request(1))
                call = stub.Predict.future(request(steps))
                # A later call on the same connection: when it is answered, the first has arrived.
                stub.Predict(request(1))
                yield process, call
        finally:
            process.kill()


def _line(process: subprocess.Popen[str], pattern: str) -> str:
    """The match of the pattern's group in the next line that matches."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.match(pattern, line):
            return found.group(1)
    pytest.fail(f"the server ended without {pattern!r}")


def test_a_call_in_flight_is_answered_before_the_process_ends(model_root: Path) -> None:
    """With SIGINT; SIGTERM is a case of tests/congruence."""
    # About a second of steps; more of them on a machine where the signal arrives later.
    for steps in (30_000, 120_000, 480_000):
        with busy(model_root / "arithmetic", steps) as (process, call):
            if call.done():
                continue
            process.send_signal(signal.SIGINT)
            assert len(call.result().outputs["y"].float_val) == 1
            assert process.wait() == 0
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()
            return
    pytest.fail("no call was in flight when the signal was sent")


def test_a_second_signal_ends_the_process_at_once(model_root: Path) -> None:
    # Steps for much longer than the tests may take.
    with busy(model_root / "arithmetic", steps=2**31 - 1) as (process, call):
        process.send_signal(signal.SIGTERM)
        _line(process, "(Stopping)")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 128 + signal.SIGINT
        assert call.code() is grpc.StatusCode.UNAVAILABLE


def test_signals_at_any_moment_end_the_wait() -> None:
    """A signal just before or during the wait of the main thread must not cause a deadlock."""
    code = (
        "import os, signal, threading, time\n"
        "from rawbert.serving.cli import serve\n"
        "for at in range(300):\n"
        "    stop = serve._stop_signal()\n"
        "    late = threading.Timer(at * 1e-5, os.kill, (os.getpid(), signal.SIGTERM))\n"
        "    late.start()\n"
        "    serve._wait(stop)\n"
        "    late.join()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
