"""The models that the cases ask for, the servers that have them, and calls by the official stubs."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import toy_models

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()", "serve", "--host=127.0.0.1"]


def write_models(root: Path) -> Path:
    """Base paths ``text`` (versions 1 and 2, told apart by their scale) and ``arithmetic`` (version 5)."""
    for version in (1, 2):
        toy_models.save_text_model(root / "text" / str(version), scale=float(version))
    toy_models.save_arithmetic_model(root / "arithmetic" / "5")
    (root / "models.config").write_text(f"model_config_list {{ {text_config(root)} {arithmetic_config(root)} }}")
    (root / "batching").write_text("max_batch_size { value: 4 } batch_timeout_micros { value: 50000 }")
    return root


def text_config(root: Path, labels: str = "", policy: str = "all {}") -> str:
    labels = labels or 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'
    return (
        f'config {{ name: "text" base_path: "{root}/text" model_platform: "tensorflow" '
        f"model_version_policy {{ {policy} }} {labels} }}"
    )


def arithmetic_config(root: Path) -> str:
    return f'config {{ name: "arithmetic" base_path: "{root}/arithmetic" model_platform: "tensorflow" }}'


def plain_flags(root: Path) -> list[str]:
    return [
        f"--model_config_file={root}/models.config",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_grpc_healthcheck_service=true",
        "--max_num_load_retries=0",
        "--enable_model_warmup=false",  # There are no records; it spares rawbert serve its trial runs.
        "--grpc_max_threads=32",
    ]


def batched_flags(root: Path) -> list[str]:
    return ["--enable_batching=true", f"--batching_parameters_file={root}/batching"]


@contextmanager
def started(program: str | None, *flags: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program] if program else RAWBERT
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, f"--port={port}", *flags], stdout=log, stderr=log)
        try:
            yield process, port
        finally:
            process.kill()
            process.wait()
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))


@contextmanager
def running(program: str | None, *flags: str) -> Iterator[Calls]:
    """Calls to a server that has loaded its models."""
    with started(program, *flags) as (process, port):
        end = time.monotonic() + 180
        while True:
            assert process.poll() is None, "the server did not start"
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            assert time.monotonic() < end
            time.sleep(0.1)
        yield Calls(f"127.0.0.1:{port}")


class Calls:
    """Calls to one server."""

    def __init__(self, address: str) -> None:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.channel = grpc.insecure_channel(address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, request: Any) -> Any:
        return self.prediction.Predict(request, timeout=30)

    def embed(self, *texts: bytes, **spec: Any) -> tuple[int, list[list[float]]]:
        """Version that answered, and a vector a text."""
        import tensorflow as tf

        answer = self.predict(request("text", "embed", {"text": np.array(texts, object)}, **spec))
        return answer.model_spec.version.value, tf.make_ndarray(answer.outputs["embedding"]).tolist()

    def status(self, model: str, version: int | None = None) -> list[tuple[int, int, int]]:
        """Version, state and error code of each version."""
        from tensorflow_serving.apis import get_model_status_pb2

        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = model
        if version is not None:
            asked.model_spec.version.value = version
        answer = self.model.GetModelStatus(asked, timeout=30)
        return [(each.version, each.state, each.status.error_code) for each in answer.model_version_status]

    def metadata(self, model: str, *fields: str, version: int | None = None) -> tuple[int, Any]:
        """Version that answered, and its signatures."""
        from tensorflow_serving.apis import get_model_metadata_pb2

        asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        asked.model_spec.name = model
        if version is not None:
            asked.model_spec.version.value = version
        answer = self.prediction.GetModelMetadata(asked, timeout=30)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(signatures)
        return answer.model_spec.version.value, signatures.signature_def

    def reload(self, *configs: str) -> None:
        from google.protobuf import text_format
        from tensorflow_serving.apis import model_management_pb2

        text = f"config {{ model_config_list {{ {' '.join(configs)} }} }}"
        asked = text_format.Parse(text, model_management_pb2.ReloadConfigRequest())
        self.model.HandleReloadConfigRequest(asked, timeout=60)


def request(model: str, signature: str, inputs: dict[str, Any], outputs: Any = (), **spec: Any) -> Any:
    """A PredictRequest; an input may be a serialised TensorProto."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    asked = predict_pb2.PredictRequest(output_filter=outputs)
    asked.model_spec.name = model
    asked.model_spec.signature_name = signature
    if "version" in spec:
        asked.model_spec.version.value = spec["version"]
    if "label" in spec:
        asked.model_spec.version_label = spec["label"]
    for name, value in inputs.items():
        if isinstance(value, bytes):
            asked.inputs[name].MergeFromString(value)
        else:
            asked.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return asked
