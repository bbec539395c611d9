"""Versions that are loaded and unloaded during calls. Each kind of change is a case of tests/congruence."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest


class Server:
    """A server and the calls of the tests."""

    def __init__(self, base: Path) -> None:
        from rawbert.serving.server import EmbeddedServer
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.server = EmbeddedServer("m", base, max_num_load_retries=0)
        self.server.start()
        self.channel = grpc.insecure_channel(self.server.address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
        self.server.stop()

    def predict(self, text: bytes = b"5") -> tuple[int, list[float]]:
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.model_spec.signature_name = "embed"
        request.inputs["text"].dtype = 7
        request.inputs["text"].tensor_shape.dim.add(size=1)
        request.inputs["text"].string_val.append(text)
        answer = self.prediction.Predict(request, timeout=120)
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


def publish(source: Path, base: Path, number: str) -> None:
    base.mkdir(exist_ok=True)
    hidden = base / f".new-{number}"
    shutil.copytree(source, hidden)
    hidden.rename(base / number)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def served(model_root: Path, tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    publish(model_root / "m" / "1", tmp_path / "m", "1")
    with Server(tmp_path / "m") as server:
        yield server, tmp_path / "m"


def test_versions_are_swapped_under_callers(served: tuple[Server, Path], model_root: Path) -> None:
    server, base = served
    failures: list[Exception] = []
    seen: set[int] = set()
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            try:
                version, vector = server.predict()
                assert vector == [version, 5]
                seen.add(version)
            except Exception as error:
                failures.append(error)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        publish(model_root / "m" / "2", base, "2")
        until(lambda: server.states() == [(2, "AVAILABLE", 0), (1, "END", 0)])
        publish(model_root / "m" / "3", base, "3")
        until(lambda: server.states()[0] == (3, "AVAILABLE", 0) and server.states()[1][1] == "END")
        shutil.rmtree(base / "3")  # The previous version is loaded again.
        until(lambda: server.states()[:2] == [(3, "END", 0), (2, "AVAILABLE", 0)])
    finally:
        ended.set()
        for caller in callers:
            caller.join()
    assert not failures
    assert seen == {1, 2, 3}


def test_a_model_waits_neither_for_the_load_nor_for_the_calls_of_another(tmp_path: Path) -> None:
    """The manager with models whose loading and unloading can be blocked."""
    from rawbert.serving.server.lifecycle import Manager
    from rawbert.serving.server.options import ModelSettings, Policy, ServerOptions
    from rawbert.serving.server.registry import Registry

    class Held:
        def __init__(self) -> None:
            self.begun, self.go = threading.Event(), threading.Event()
            self.closed = False

        def close(self) -> None:
            self.closed = True

    loads: dict[str, Held] = {name: Held() for name in "abc"}
    loads["a"].go.set()
    loads["c"].go.set()

    def load(name: str, version: int, folder: Path) -> Any:
        loads[name].begun.set()
        loads[name].go.wait()
        return loads[name]

    registry: Registry[Any] = Registry()
    manager = Manager(registry, load, ServerOptions(file_system_poll_wait_seconds=0.05, num_load_threads=2))
    for name in "abc":
        (tmp_path / name / "1").mkdir(parents=True)
    settings = {name: ModelSettings(name, tmp_path / name, Policy()) for name in "abc"}
    manager.configure({"a": settings["a"]})
    with registry.use("a"):
        # While b is being loaded and a waits for its call, c is loaded.
        manager.configure({name: settings[name] for name in "bc"}, wait=False)
        until(lambda: registry.loaded() == [("c", 1)] and loads["b"].begun.is_set())
        assert [each.state.name for each in registry.status("a")] == ["UNLOADING"]
        assert [each.state.name for each in registry.status("b")] == ["LOADING"]
        assert not loads["a"].closed
        # The version is wanted again before its unloading ends: it is loaded afterwards.
        manager.configure(settings, wait=False)
        time.sleep(0.2)
        assert [each.state.name for each in registry.status("a")] == ["UNLOADING"]
    until(lambda: ("a", 1) in registry.loaded())
    # The version is no longer wanted before its loading ends: it never answers.
    manager.configure({name: settings[name] for name in "ac"}, wait=False)
    time.sleep(0.2)
    loads["b"].go.set()
    until(lambda: loads["b"].closed)
    assert sorted(registry.loaded()) == [("a", 1), ("c", 1)]
    with registry.use("c"):
        assert not manager.stop(0.1)
    until(lambda: loads["c"].closed)
