"""Server programs, and calls to them by the official stubs.

``python tests/congruence/servers.py FOLDER`` writes the models and prints the flags for starting a server by hand.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()", "serve", "--host=127.0.0.1"]


@dataclass(frozen=True)
class Target:
    """The server under test: a program that the cases start, or the server at an address.

    ``rawbert serve`` intentionally differs in some places (docs/reference/server.md); cases check ``rawbert`` there.
    """

    command: list[str]
    rawbert: bool
    address: str = ""

    @classmethod
    def of(cls, program: str | None, address: str | None) -> Target:
        """The server named by the options of the command line; without an option, rawbert serve."""
        if address:
            with grpc.insecure_channel(address) as channel:
                method = channel.unary_unary("/tensorflow.serving.PredictionService/MultiInference")
                try:
                    method(b"", timeout=30)
                except grpc.RpcError as error:
                    return cls([], "rawbert" in error.details(), address)
            raise AssertionError("an empty MultiInference request was answered")
        if not program:
            return cls(RAWBERT, True)
        shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
        return cls([program], "TensorFlow ModelServer" not in shown)


class Started:
    """A server program that was started."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Any) -> None:
        self.process, self.port, self._log = process, port, log

    def output(self) -> str:
        """Its output: standard output and standard error, because TensorFlow Serving writes to both."""
        return os.pread(self._log.fileno(), 2**24, 0).decode(errors="replace")

    def listens(self, port: int = 0) -> bool:
        """Whether its port, or the given one, is open: TensorFlow Serving opens it when the models are loaded."""
        with socket.socket() as probe:
            return not probe.connect_ex(("127.0.0.1", port or self.port))

    def wait(self, seconds: float = 120) -> int:
        """Its exit status."""
        return self.process.wait(seconds)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def started(target: Target, *flags: str, port: int | None = None) -> Iterator[Started]:
    """Start the program on the given port or on a free one, with ``--name=value`` flags of tensorflow_model_server."""
    port = port or free_port()
    with tempfile.TemporaryFile() as log:
        # The tests switch TensorFlow's messages off, but cases check the messages of tensorflow_model_server.
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
        command = [*target.command, f"--port={port}", *flags]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        server = Started(process, port, log)
        try:
            yield server
        finally:
            process.kill()
            process.wait()
            sys.stderr.write(server.output())


@contextmanager
def running(target: Target, *flags: str) -> Iterator[Calls]:
    """Calls to a server that has loaded its models, over gRPC and HTTP."""
    rest = free_port()
    with started(target, *flags, f"--rest_api_port={rest}") as server:
        end = time.monotonic() + 180
        while not (server.listens() and server.listens(rest)):
            assert server.process.poll() is None, "the server did not start"
            assert time.monotonic() < end
            time.sleep(0.05)
        with Calls(f"127.0.0.1:{server.port}", target.rawbert, server, f"127.0.0.1:{rest}") as calls:
            yield calls


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP."""

    status: int
    body: bytes
    headers: Any

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Calls:
    """Calls to one server."""

    def __init__(self, address: str, rawbert: bool, server: Started | None = None, rest: str | None = None) -> None:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.address, self.rawbert, self.server, self.rest = address, rawbert, server, rest
        self.channel = grpc.insecure_channel(address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def http(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> Answer:
        """A request over HTTP."""
        assert self.rest
        connection = http.client.HTTPConnection(self.rest, timeout=60)
        with closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.read(), response.headers)

    def post(self, model: str, body: bytes | str | dict[str, Any], **headers: str) -> Answer:
        """A predict request over HTTP; ``model`` may name a version or label too."""
        text = json.dumps(body) if isinstance(body, dict) else body
        return self.http("POST", f"/v1/models/{model}:predict", text, **headers)

    def predict(self, request: Any, timeout: float = 30) -> Any:
        return self.prediction.Predict(request, timeout=timeout)

    def together(self, *requests: Any, timeout: float = 30) -> list[Any]:
        """Make calls at the same time; returns the answer or the error of each."""
        futures = [self.prediction.Predict.future(each, timeout=timeout) for each in requests]
        return [future.exception() or future.result() for future in futures]

    def array(self, model: str, signature: str, output: str, inputs: dict[str, Any], **spec: Any) -> Any:
        """An output of a call, as an array."""
        import tensorflow as tf

        return tf.make_ndarray(self.predict(request(model, signature, inputs, **spec)).outputs[output])

    def half(self, model: str = "half", **spec: Any) -> int:
        """The version that answers x = 4: according to its answer, and according to its model_spec."""
        answer = self.predict(request(model, "", {"x": np.float32([[4]])}, **spec))
        version: int = answer.model_spec.version.value
        assert list(answer.outputs["y"].float_val) == [2 + version]
        return version

    def status(self, model: str, version: int | None = None) -> list[tuple[int, int, int]]:
        """Version, state and error code of each version."""
        return [(each.version, each.state, each.status.error_code) for each in self.statuses(model, version)]

    def statuses(self, model: str, version: int | None = None, label: str = "") -> Any:
        from tensorflow_serving.apis import get_model_status_pb2

        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = model
        if version is not None:
            asked.model_spec.version.value = version
        if label:
            asked.model_spec.version_label = label
        return self.model.GetModelStatus(asked, timeout=30).model_version_status

    def available(self, model: str) -> list[int]:
        """The versions that are AVAILABLE, the largest first."""
        return [each.version for each in self.statuses(model) if each.state == 30]

    def metadata(self, model: str, *fields: str, **spec: Any) -> tuple[Any, Any]:
        """The ModelSpec of an answer, and its signatures."""
        from tensorflow_serving.apis import get_model_metadata_pb2

        asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        _specify(asked.model_spec, model, **spec)
        answer = self.prediction.GetModelMetadata(asked, timeout=30)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(signatures)
        return answer.model_spec, signatures.signature_def

    def reload(self, *configs: str, timeout: float = 60) -> None:
        """Replace the configuration by these entries of a model_config_list."""
        self.reload_text(f"config {{ model_config_list {{ {' '.join(configs)} }} }}", timeout)

    def reload_text(self, text: str, timeout: float = 60) -> None:
        from google.protobuf import text_format
        from tensorflow_serving.apis import model_management_pb2

        asked = text_format.Parse(text, model_management_pb2.ReloadConfigRequest())
        self.model.HandleReloadConfigRequest(asked, timeout=timeout)


def request(model: str, signature: str, inputs: dict[str, Any], outputs: Any = (), **spec: Any) -> Any:
    """A PredictRequest; an input may be a serialised TensorProto."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    asked = predict_pb2.PredictRequest(output_filter=outputs)
    _specify(asked.model_spec, model, **spec)
    asked.model_spec.signature_name = signature
    for name, value in inputs.items():
        if isinstance(value, bytes):
            asked.inputs[name].MergeFromString(value)
        else:
            asked.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return asked


def _specify(spec: Any, model: str, version: int | None = None, label: str | None = None) -> None:
    spec.name = model
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label


if __name__ == "__main__":
    import base_paths

    root = Path(sys.argv[1]).absolute()
    base_paths.write(root)
    print(
        "tensorflow_model_server --port=8500 --rest_api_port=8501",
        *map(shlex.quote, base_paths.plain_flags(root)),
        sep=" \\\n  ",
    )
