"""``rawbert serve`` in a separate process, with measurements, and requests for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import wire

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


class Served:
    """A server process and calls to it."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.process, self.address = process, address
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(address, options=options)
        self.predict = prediction_service_pb2_grpc.PredictionServiceStub(self.channel).Predict
        self.status = model_service_pb2_grpc.ModelServiceStub(self.channel).GetModelStatus

    def megabytes(self) -> float:
        """Its resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def states(self, model: str) -> dict[int, str]:
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        names = get_model_status_pb2.ModelVersionStatus.State.Name
        return {each.version: names(each.state) for each in self.status(request, timeout=60).model_version_status}


@contextmanager
def serving(*flags: str) -> Iterator[Served]:
    """``rawbert serve``; checks that its log contains no traceback."""
    command = [*RAWBERT, "serve", "--host", "127.0.0.1", "--port", "0", *flags]
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            end = time.monotonic() + 300
            while not (ready := re.search(r"Running gRPC ModelServer at (\S+) \.\.\.", Path(log.name).read_text())):
                assert process.poll() is None, Path(log.name).read_text()
                assert time.monotonic() < end
                time.sleep(0.1)
            yield Served(process, ready.group(1))
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()
        said = Path(log.name).read_text()
        assert "Traceback" not in said, said[-5000:]


def asked(model: str, signature: str, tensors: dict[str, bytes]) -> Any:
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, data in tensors.items():
        request.inputs[name].MergeFromString(data)
    return request


def strings(*values: bytes, shape: tuple[int, ...] | None = None) -> bytes:
    """A string tensor."""
    return wire.tensor(7, shape or (len(values),), *(wire.field(8, wire.LENGTH, value) for value in values))
