"""The batcher by itself, on a runner that notes what it is given; and batched calls of a server."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_models
from rawbert.serving import Client

pytest.importorskip("tensorflow_serving", reason="the embedded server needs the server extra")


class Runner:
    """Doubles its input; can be held up."""

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
        if signature == "widest":  # The inner shape depends on the batch.
            return {"y": np.ones((len(inputs["x"]), int(inputs["x"].max())), np.float32)}
        return {"y": inputs["x"] * 2}


def make(**settings: Any) -> tuple[Any, Runner, Any]:
    from rawbert.serving.server.admission import Caller
    from rawbert.serving.server.batcher import Batcher, Task
    from rawbert.serving.server.options import Batching

    runner = Runner()
    threads = settings.pop("threads", 1)
    batcher = Batcher(Batching(**settings), runner, threads)

    def call(value: Any, signature: str = "double", wanted: Any = lambda: True, seconds: float | None = None) -> Any:
        return batcher.run(signature, Task({"x": np.asarray(value, np.float32)}, ["y"], Caller(wanted, seconds)))["y"]

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


def test_a_call_whose_turn_would_come_too_late_is_refused_in_time() -> None:
    batcher, runner, call = make(max_batch_size=1, max_execution_batch_size=1)
    batcher._pace = lambda signature: 0.2
    runner.go.clear()
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(call, [1], "double", lambda: True, 0.6)
        while batcher._queues.get("double") or not batcher._queues:
            pass
        began = time.monotonic()
        with pytest.raises(Exception, match="too late for its deadline"):
            call([2], seconds=0.8)
        assert 0.3 < time.monotonic() - began < 0.7
        runner.go.set()
        assert running.result().tolist() == [2]  # It had begun: what remains is its caller's affair.
        assert call([3], seconds=0.1).tolist() == [6]  # A thread is free: it is tried.
    batcher.close()
    assert runner.sizes == [1, 1]


def test_a_call_that_would_wait_too_long_is_refused_at_once() -> None:
    from rawbert.serving.server.admission import Backlog, Caller

    backlog = Backlog()

    def caller(seconds: float | None = None) -> Caller:
        return Caller(lambda: True, seconds)

    with backlog.run("s", 10):
        time.sleep(0.1)
    # 0.01 s a row: now 20 rows of work are given, 0.2 s.
    with backlog.let_in("s", 20, caller()):
        with pytest.raises(Exception, match="too late for its deadline"), backlog.let_in("s", 1, caller(0.2)):
            pass
        for seconds in (0.6, None):
            with backlog.let_in("s", 1, caller(seconds)):
                pass
        with backlog.let_in("another", 1000, caller(0.6)):  # of which nothing is known
            pass
    with backlog.let_in("s", 1000, caller(0.1)):  # where there is nothing else to do it is tried
        pass


def test_calls_that_come_too_late_leave_room_for_fewer() -> None:
    from rawbert.serving.server.admission import CallThreads

    threads = CallThreads(100)
    go = threading.Event()
    calls = [threads.submit(go.wait) for _ in range(40)]
    threads.submit(threads.answered, True).result()
    assert (threads.calls, threads.room) == (40, 40)
    for _ in range(5):
        threads.submit(threads.answered).result()
    assert threads.room == 45
    go.set()
    for call in calls:
        call.result()
    assert (threads.calls, threads.room) == (0, 85)
    threads.submit(threads.answered, True).result()
    assert threads.room == 32  # A few may come all the same.
    threads.shutdown()


def test_turns_are_given_in_order() -> None:
    from rawbert.serving.server.admission import Turns

    turns = Turns(1)
    got: list[int] = []

    def work(at: int) -> None:
        assert turns.acquire(timeout=60)
        got.append(at)
        turns.release()

    assert turns.acquire(None)
    assert not turns.acquire(timeout=0.01)
    threads = [threading.Thread(target=work, args=(at,)) for at in range(20)]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    # Who asks again at once, as a busy caller does, comes after all that wait.
    turns.release()
    assert turns.acquire(timeout=60)
    assert got == list(range(20))
    turns.release()
    for thread in threads:
        thread.join()


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
        ("nonsense", "no BatchingParameters text proto"),
        ("max_batch_size { value: 0 }", "max_batch_size must be at least 1"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "last entry was 4; expected 8"),
    ],
)
def test_parameters_that_are_refused(model_root: Path, tmp_path: Path, text: str, says: str) -> None:
    from rawbert.serving.server import EmbeddedServer, StartError

    (tmp_path / "batching").write_text(text)
    with pytest.raises(StartError, match=says):
        EmbeddedServer("t", model_root / "text", enable_batching=True, batching_parameters_file=tmp_path / "batching")
