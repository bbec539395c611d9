"""The batcher with a runner that records its inputs, and batched calls of a server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_models
from rawbert.serving import Client

pytest.importorskip("tensorflow_serving", reason="the embedded server needs the server extra")


class Runner:
    """Doubles its input; can be blocked."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, signature: str, inputs: Any, outputs: Any) -> dict[str, Any]:
        self.go.wait()
        self.sizes.append(len(inputs["x"]))
        if signature == "scalar":
            return {"y": np.float32(1)}
        if signature == "cut":
            return {"y": inputs["x"][:1]}
        if signature == "widest":  # The inner dimensions depend on the batch.
            return {"y": np.ones((len(inputs["x"]), int(inputs["x"].max())), np.float32)}
        return {"y": inputs["x"] * 2}


def make(**settings: Any) -> tuple[Any, Runner, Any]:
    from rawbert.serving.server.batcher import Batcher, Task
    from rawbert.serving.server.metrics import Metrics
    from rawbert.serving.server.options import Batching

    runner = Runner()
    threads = settings.pop("threads", 1)
    batcher = Batcher(Batching(**settings), runner, threads, Metrics())

    def call(value: Any, signature: str = "double", wanted: Any = lambda: True) -> Any:
        return batcher.run(signature, Task({"x": np.asarray(value, np.float32)}, ["y"], wanted))["y"]

    return batcher, runner, call


def test_calls_share_batches_and_each_gets_its_own_rows() -> None:
    batcher, runner, call = make(max_batch_size=16, max_execution_batch_size=16, batch_timeout=0.2)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda at: call([at, at + 0.5]).tolist(), range(32)))
    batcher.close()
    assert answers == [[2 * at, 2 * at + 1] for at in range(32)]
    assert sum(runner.sizes) == 64
    assert max(runner.sizes) == 16


def test_sizes_are_filled_up_and_too_much_is_refused() -> None:
    batcher, runner, call = make(max_batch_size=8, max_execution_batch_size=8, allowed_batch_sizes=(4, 8))
    assert call([1, 2, 3]).tolist() == [2, 4, 6]
    assert runner.sizes == [4]
    with pytest.raises(Exception, match="Task size 9 is larger than maximum input batch size 8"):
        call(range(9))
    with pytest.raises(Exception, match="must have at least one dimension"):
        call(1.0)
    with pytest.raises(Exception, match="Batched output tensor has 0 dimensions"):
        call([1, 2], "scalar")
    with pytest.raises(Exception, match="does not equal the sum"):
        call([1, 2], "cut")
    batcher.close()


def test_a_full_queue_refuses_and_gone_callers_are_not_computed() -> None:
    batcher, runner, call = make(max_batch_size=1, max_execution_batch_size=1, max_enqueued_batches=2)
    runner.go.clear()
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(call, [1])
        while batcher._queues.get("double") or not batcher._queues:
            pass
        waiting = pool.submit(call, [2])
        gone = pool.submit(call, [3], "double", lambda: False)
        while len(batcher._queues["double"]) < 2:
            pass
        with pytest.raises(Exception, match="currently 2 batches enqueued and max_enqueued_batches is 2"):
            call([4])
        runner.go.set()
        assert (running.result().tolist(), waiting.result().tolist()) == ([2], [4])
        with pytest.raises(Exception, match="the caller is gone"):
            gone.result()
    batcher.close()
    assert runner.sizes == [1, 1]


def test_parts_of_unequal_inner_shape_are_not_glued_together() -> None:
    batcher, runner, call = make(max_batch_size=8, max_execution_batch_size=2)
    assert call([1, 2, 3, 4]).tolist() == [2, 4, 6, 8]
    assert runner.sizes == [2, 2]
    assert call([1, 1, 3, 3], "widest").shape == (4, 3)
    assert runner.sizes[-1] == 4
    batcher.close()


def test_a_split_call_waits_whole_or_not_at_all() -> None:
    batcher, runner, call = make(max_batch_size=8, max_execution_batch_size=2, max_enqueued_batches=3)
    runner.go.clear()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(call, [1])
        while batcher._queues.get("double") or not batcher._queues:
            pass
        with pytest.raises(Exception, match="currently 0 batches enqueued and max_enqueued_batches is 3"):
            call(range(8))
        runner.go.set()
        assert running.result().tolist() == [2]
    assert call(range(6)).tolist() == [0, 2, 4, 6, 8, 10]
    batcher.close()
    assert runner.sizes == [1, 2, 2, 2]


def test_batched_calls_of_a_server(model_root: Path, tmp_path: Path) -> None:
    from rawbert.serving.server import EmbeddedServer

    parameters = tmp_path / "batching"
    parameters.write_text("max_batch_size { value: 64 } batch_timeout_micros { value: 2000 }")
    texts = [f"text {at} " + "x" * (at % 9) for at in range(200)]
    with (
        EmbeddedServer(
            "text", model_root / "text", enable_batching=True, batching_parameters_file=str(parameters)
        ) as server,
        Client(server.address, model="text") as client,
        ThreadPoolExecutor(32) as pool,
    ):
        vectors = list(pool.map(lambda text: client.embed([text])[0], texts))
        tokens = list(pool.map(lambda text: client.tokenize([text])[0].ids, texts))
    for text, vector, ids in zip(texts, vectors, tokens, strict=True):
        np.testing.assert_allclose(vector, toy_models.embedding(text.encode()), rtol=1e-6)
        assert list(ids) == toy_models.ids(text.encode())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "not a BatchingParameters text proto"),
        ("max_batch_size { value: 0 }", "max_batch_size must be at least 1"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "last entry was 4; expected 8"),
    ],
)
def test_parameters_that_are_refused(model_root: Path, tmp_path: Path, text: str, says: str) -> None:
    from rawbert.serving.server import EmbeddedServer, StartError

    (tmp_path / "batching").write_text(text)
    with pytest.raises(StartError, match=says):
        EmbeddedServer("t", model_root / "text", enable_batching=True, batching_parameters_file=tmp_path / "batching")
