"""Versions that come, go and break while a server runs; labels; reload; warmup. By the official stubs."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import toy_models

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders 1, 2 and 3: the text model; the number is its scale."""
    root = tmp_path_factory.mktemp("toys")
    for scale in (1, 2, 3):
        toy_models.save_text_model(root / str(scale), scale=float(scale))
    return root


class Server:
    """A server, and the calls that the tests make."""

    def __init__(self, base: Path, **flags: Any) -> None:
        from rawbert.serving.server import EmbeddedServer
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        settings = {"max_num_load_retries": 0, **flags}
        where = ("m", base) if "model_config_file" not in flags else ()
        self.server = EmbeddedServer(*where, **settings)
        self.server.start()
        self.channel = grpc.insecure_channel(self.server.address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
        self.server.stop()

    def predict(self, text: bytes = b"ab", **spec: Any) -> tuple[int, list[float]]:
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.model_spec.signature_name = "embed"
        if "version" in spec:
            request.model_spec.version.value = spec["version"]
        if "label" in spec:
            request.model_spec.version_label = spec["label"]
        request.inputs["text"].dtype = 7
        request.inputs["text"].tensor_shape.dim.add(size=1)
        request.inputs["text"].string_val.append(text)
        answer = self.prediction.Predict(request, timeout=30)
        return answer.model_spec.version.value, list(answer.outputs["embedding"].float_val)

    def states(self) -> list[tuple[int, str, int]]:
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "m"
        names = get_model_status_pb2.ModelVersionStatus.State.Name
        return [
            (each.version, names(each.state), each.status.error_code)
            for each in self.model.GetModelStatus(request).model_version_status
        ]

    def reload(self, text: str) -> None:
        from google.protobuf import text_format
        from tensorflow_serving.apis import model_management_pb2

        self.model.HandleReloadConfigRequest(
            text_format.Parse(text, model_management_pb2.ReloadConfigRequest()), timeout=60
        )


def publish(source: Path, base: Path, number: str, break_it: Callable[[Path], Any] = lambda folder: None) -> None:
    base.mkdir(exist_ok=True)
    hidden = base / f".new-{number}"
    shutil.copytree(source, hidden)
    break_it(hidden)
    hidden.rename(base / number)


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def refused(call: Callable[[], Any]) -> tuple[Code, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


@pytest.fixture
def served(toys: Path, tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    publish(toys / "1", tmp_path / "m", "1")
    with Server(tmp_path / "m") as server:
        yield server, tmp_path / "m"


def test_versions_are_swapped_under_callers(served: tuple[Server, Path], toys: Path) -> None:
    server, base = served
    failures: list[Exception] = []
    seen: set[int] = set()
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            try:
                version, vector = server.predict()
                np.testing.assert_allclose(vector, toy_models.embedding(b"ab", float(version)), rtol=1e-6)
                seen.add(version)
            except Exception as error:
                failures.append(error)

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    publish(toys / "2", base, "2")
    until(lambda: server.states() == [(2, "AVAILABLE", 0), (1, "END", 0)])
    publish(toys / "3", base, "3")
    until(lambda: server.states()[0] == (3, "AVAILABLE", 0) and server.states()[1][1] == "END")
    shutil.rmtree(base / "3")  # The one before comes back.
    until(lambda: server.states()[:2] == [(3, "END", 0), (2, "AVAILABLE", 0)])
    ended.set()
    for caller in callers:
        caller.join()
    assert not failures
    assert seen == {1, 2, 3}


def _unknown_op(folder: Path) -> None:
    data = (folder / "saved_model.pb").read_bytes()
    assert b"StringsByteSplit" in data or b"DecodeRaw" in data
    (folder / "saved_model.pb").write_bytes(data.replace(b"DecodeRaw", b"DecodeRax"))


@pytest.mark.parametrize(
    ("break_it", "number"),
    [
        (lambda folder: (folder / "saved_model.pb").write_bytes(b"garbage"), 15),
        (lambda folder: os.truncate(folder / "saved_model.pb", (folder / "saved_model.pb").stat().st_size // 2), 11),
        (lambda folder: (folder / "saved_model.pb").unlink(), 5),
        (lambda folder: next((folder / "variables").glob("*.data*")).unlink(), 5),
        (_unknown_op, 5),
        (
            lambda folder: (
                (folder / "assets.extra").mkdir(),
                (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no TFRecord file at all"),
            ),
            15,
        ),
    ],
    ids=["garbage", "cut", "no graph", "no variables", "unknown op", "warmup file"],
)
def test_a_broken_version_leaves_the_old_one_serving(
    served: tuple[Server, Path], toys: Path, break_it: Any, number: int
) -> None:
    server, base = served
    publish(toys / "2", base, "2", break_it)
    until(lambda: server.states()[0][1] == "END")
    assert server.states() == [(2, "END", number), (1, "AVAILABLE", 0)]
    assert server.predict()[0] == 1
    publish(toys / "3", base, "3")
    until(lambda: server.states()[0] == (3, "AVAILABLE", 0))
    assert server.predict()[0] == 3


def test_warmup_records_are_replayed(served: tuple[Server, Path], toys: Path) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    def record(signature: str) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.model_spec.signature_name = signature
            log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto([b"a"]))
            (folder / "assets.extra").mkdir()
            with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
                writer.write(log.SerializeToString())

        return write

    server, base = served
    publish(toys / "2", base, "2", record("nope"))
    until(lambda: server.states()[0] == (2, "END", 9))
    publish(toys / "3", base, "3", record("embed"))
    until(lambda: server.states()[0] == (3, "AVAILABLE", 0))


def config(base: Path, rest: str = "", platform: str = "tensorflow") -> str:
    return f'model_config_list {{ config {{ name: "m" base_path: "{base}" model_platform: "{platform}" {rest} }} }}'


def test_labels_policies_and_reload(toys: Path, tmp_path: Path) -> None:
    for number in ("1", "2", "3"):
        publish(toys / number, tmp_path / "m", number)
    base = tmp_path / "m"
    both = "model_version_policy { specific { versions: 1 versions: 2 } } "
    label = 'version_labels {{ key: "{}" value: {} }} '
    file = tmp_path / "models.config"
    file.write_text(config(base, both))
    with Server(base, model_config_file=str(file)) as server:
        assert server.server.versions == [("m", 1), ("m", 2)]
        assert server.predict()[0] == 2
        assert refused(lambda: server.predict(label="stable"))[0] is Code.INVALID_ARGUMENT
        server.reload("config { " + config(base, both + label.format("stable", 1) + label.format("canary", 2)) + " }")
        assert (server.predict(label="stable")[0], server.predict(label="canary")[0]) == (1, 2)
        assert refused(lambda: server.reload("config { " + config(base, both + label.format("stable", 3)) + " }")) == (
            Code.FAILED_PRECONDITION,
            "Request to assign label to version 3 of model m, which is not currently available for inference",
        )
        assert server.predict(label="stable")[0] == 1
        for text, says in (
            ("", "ServerModelConfig type not supported by HandleReloadConfigRequest"),
            (config(Path("rel/x")), "Expected model m to have an absolute path or URI; got base_path()=rel/x"),
            (config(base, platform=""), "Illegal setting neither ModelServerConfig::model_type (deprecated) nor"),
            (config(base, platform="onnx"), "Illegal to change a model's platform. For model m platform was"),
            (config(base)[:-1] + config(base).partition("{")[2], "Illegal to list model m multiple times"),
        ):
            code, message = refused(lambda text=text: server.reload(f"config {{ {text} }}" if text else ""))
            assert code is Code.INVALID_ARGUMENT
            assert message.startswith(says)
        server.reload("config { " + config(base, "model_version_policy { all {} }") + " }")
        until(lambda: server.server.versions == [("m", 1), ("m", 2), ("m", 3)])
        server.reload("config { model_config_list {} }")
        until(lambda: not server.server.versions)
        assert refused(server.predict) == (Code.NOT_FOUND, "Servable not found for request: Latest(m)")


def test_the_config_file_is_polled(toys: Path, tmp_path: Path) -> None:
    for number in ("1", "2"):
        publish(toys / number, tmp_path / "m", number)
    file = tmp_path / "models.config"
    file.write_text(config(tmp_path / "m"))
    with Server(tmp_path, model_config_file=str(file), model_config_file_poll_wait_seconds=1) as server:
        assert server.server.versions == [("m", 2)]
        file.write_text("no text proto")
        time.sleep(1.5)
        assert server.predict()[0] == 2
        file.write_text(config(tmp_path / "m", "model_version_policy { specific { versions: 1 } }"))
        until(lambda: server.server.versions == [("m", 1)])


def test_a_model_waits_neither_for_the_load_nor_for_the_calls_of_another(tmp_path: Path) -> None:
    """The manager by itself, on models whose loading and freeing are held up."""
    from rawbert.serving.server.config import ModelSettings, Policy
    from rawbert.serving.server.lifecycle import Manager
    from rawbert.serving.server.registry import Registry

    class Held:
        def __init__(self) -> None:
            self.go = threading.Event()
            self.closed = False

        def close(self) -> None:
            self.closed = True

    loads: dict[str, Held] = {name: Held() for name in "abc"}
    loads["a"].go.set()
    loads["c"].go.set()

    def load(name: str, version: int, folder: Path) -> Any:
        loads[name].go.wait()
        return loads[name]

    registry: Registry[Any] = Registry()
    manager = Manager(registry, load, 0.05, 0, 0, 0, loads=2)
    for name in "abc":
        (tmp_path / name / "1").mkdir(parents=True)
    settings = {name: ModelSettings(name, tmp_path / name, Policy()) for name in "abc"}
    manager.start()
    manager.configure({"a": settings["a"]})
    with registry.use("a"):
        # b is being loaded, a is waiting for its call: c comes all the same.
        manager.configure({name: settings[name] for name in "bc"}, wait=False)
        until(lambda: registry.loaded() == [("c", 1)])
        assert [each.state.name for each in registry.status("a")] == ["UNLOADING"]
        assert [each.state.name for each in registry.status("b")] == ["LOADING"]
        assert not loads["a"].closed
        # Wanted again before it has gone: it is loaded when it has.
        manager.configure(settings, wait=False)
        time.sleep(0.2)
        assert [each.state.name for each in registry.status("a")] == ["UNLOADING"]
    until(lambda: ("a", 1) in registry.loaded())
    # Not wanted any more before it is loaded: it never answers.
    manager.configure({name: settings[name] for name in "ac"}, wait=False)
    time.sleep(0.2)
    loads["b"].go.set()
    until(lambda: loads["b"].closed)
    assert sorted(registry.loaded()) == [("a", 1), ("c", 1)]
    with registry.use("c"):
        assert not manager.stop(0.1)
    until(lambda: loads["c"].closed)


def test_health_and_tensor_content(toys: Path, tmp_path: Path) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    publish(toys / "1", tmp_path / "m", "1")
    with Server(
        tmp_path / "m", enable_grpc_healthcheck_service=True, enable_serialization_as_tensor_content=True
    ) as server:
        stub = health_pb2_grpc.HealthStub(server.channel)
        for name in ("", "ModelService", "PredictionService"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == 1
        assert refused(lambda: stub.Check(health_pb2.HealthCheckRequest(service="no")))[0] is Code.NOT_FOUND
        assert server.predict() == (1, [])  # no float_val
