"""Batches of calls to one signature from several callers.

The rules are those of TensorFlow Serving's batching session: a batch runs when it is full, or when its first call has
waited for the timeout and a thread is free. Up to ``max_enqueued_batches`` wait; further calls are refused. Two
differences are intentional: calls whose caller is gone are not computed, and a split call whose parts have different
inner shapes runs again without a split.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import grpc
import numpy as np

from ..wire.codec import Array
from .failure import Failure, invalid, unfit
from .metrics import Metrics, microseconds_since, rows
from .options import Batching

Run = Callable[[str, Mapping[str, Array], Sequence[str]], dict[str, Array]]
#: Function that returns whether a caller still waits for the answer.
Wanted = Callable[[], bool]


def gone() -> Failure:
    """The failure for a caller that is gone or whose deadline has passed; nobody receives it."""
    return Failure(grpc.StatusCode.CANCELLED, "the caller is gone")


class Task:
    """A call: arrays by input name, each ``[rows, ...]``, the requested outputs, and whether a caller still waits."""

    def __init__(self, inputs: Mapping[str, Array], outputs: Sequence[str], wanted: Wanted) -> None:
        if not inputs or any(not value.ndim for value in inputs.values()):
            raise invalid("Batching Run() input tensors must have at least one dimension")
        sizes = {len(value) for value in inputs.values()}
        if len(sizes) > 1:
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
        self.inputs, self.outputs, self.wanted = inputs, outputs, wanted
        (self.rows,) = sizes
        self.answer: Future[dict[str, Array]] = Future()
        self.since = time.monotonic()


@dataclass
class _Batch:
    due: float
    rows: int = 0
    tasks: list[Task] = field(default_factory=list)


class Batcher:
    """One queue per signature, and the threads that run due batches.

    Args:
        batching: the parameters.
        run: function that runs a signature once.
        threads: number of batches that run at the same time.
        metrics: metrics of the server.
    """

    def __init__(self, batching: Batching, run: Run, threads: int, metrics: Metrics) -> None:
        self._batching, self._run, self._metrics = batching, run, metrics
        self._queuing_latency = metrics.queuing_latency.labels(batching.thread_pool_name)
        self._queues: dict[str, deque[_Batch]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"rawbert-batch-{at}", daemon=True) for at in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, signature: str, task: Task, timeout: float | None = None) -> dict[str, Array]:
        """Run a call in a batch; arrays by output name. TimeoutError after ``timeout`` seconds."""
        end = None if timeout is None else task.since + timeout
        for _ in task.inputs:
            self._metrics.input_batch_size.observe(rows(task.rows))
        if task.rows > self._batching.max_batch_size:
            raise invalid(
                f"Task size {task.rows} is larger than maximum input batch size {self._batching.max_batch_size}"
            )
        if not task.rows:
            # A call without rows runs alone; in TensorFlow Serving it waits for other calls.
            return self._run(signature, task.inputs, task.outputs)
        size = self._batching.max_execution_batch_size
        parts = [
            Task({name: value[at : at + size] for name, value in task.inputs.items()}, task.outputs, task.wanted)
            for at in range(0, task.rows, size)
        ]
        self._put(signature, parts)
        answers = [part.answer.result(None if end is None else max(0.0, end - time.monotonic())) for part in parts]
        if len(answers) == 1:
            return answers[0]
        if any(len({answer[name].shape[1:] for answer in answers}) > 1 for name in task.outputs):
            return self._run(signature, task.inputs, task.outputs)
        return {name: np.concatenate([answer[name] for answer in answers]) for name in task.outputs}

    def close(self) -> None:
        """End the threads; no call may be running."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _put(self, signature: str, tasks: Sequence[Task]) -> None:
        """Queue all tasks, or none if the queue has no room."""
        most = self._batching.max_execution_batch_size
        with self._changed:
            queue = self._queues.setdefault(signature, deque())
            last, further = queue[-1].rows if queue else most, 0
            for task in tasks:
                further += last + task.rows > most
                last = task.rows if last + task.rows > most else last + task.rows
            if len(queue) + further > self._batching.max_enqueued_batches:
                raise Failure(
                    grpc.StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; currently "
                    f"{len(queue)} batches enqueued and max_enqueued_batches is {self._batching.max_enqueued_batches}",
                )
            for task in tasks:
                if not queue or queue[-1].rows + task.rows > most:
                    queue.append(_Batch(time.monotonic() + self._batching.batch_timeout))
                queue[-1].tasks.append(task)
                queue[-1].rows += task.rows
            self._changed.notify(len(tasks))

    def _take(self) -> tuple[str, _Batch] | None:
        """Wait for a due batch, and return the one that has been due for the longest time; ``None`` at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                waiting = sorted((queue[0].due, signature) for signature, queue in self._queues.items() if queue)
                for due, signature in waiting:
                    queue = self._queues[signature]
                    full = len(queue) > 1 or queue[0].rows >= self._batching.max_execution_batch_size
                    if full or due <= now:
                        return signature, queue.popleft()
                if self._closed:
                    return None
                self._changed.wait(waiting[0][0] - now if waiting else None)

    def _work(self) -> None:
        while taken := self._take():
            self._run_batch(*taken)
            del taken  # otherwise its arrays stay in memory until the next batch

    def _run_batch(self, signature: str, batch: _Batch) -> None:
        tasks = []
        for task in batch.tasks:
            self._queuing_latency.observe(microseconds_since(task.since))
            if task.wanted():
                tasks.append(task)
            else:
                task.answer.set_exception(gone())
        try:
            if tasks:
                self._run_together(signature, tasks)
        except Exception as error:
            for task in tasks:
                if not task.answer.done():
                    task.answer.set_exception(error)

    def _run_together(self, signature: str, tasks: list[Task]) -> None:
        outputs = sorted({name for task in tasks for name in task.outputs})
        total = sum(task.rows for task in tasks)
        size = next((size for size in self._batching.allowed_batch_sizes if size >= total), total)
        self._metrics.padding_size.labels(size).observe(rows(size - total))
        self._metrics.processed_batch_size.observe(rows(size))
        inputs = {name: self._joined(name, [task.inputs[name] for task in tasks], size) for name in tasks[0].inputs}
        self._metrics.wrapped_runs.inc()
        results = self._run(signature, inputs, outputs)
        for value in results.values():
            if not np.ndim(value):
                raise unfit("Batched output tensor has 0 dimensions")
            if len(value) != size:
                raise unfit(
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                    "input tensors"
                )
        at = 0
        for task in tasks:
            task.answer.set_result({name: results[name][at : at + task.rows] for name in task.outputs})
            at += task.rows

    def _joined(self, name: str, values: list[Array], size: int) -> Array:
        if len({value.ndim for value in values}) > 1 or (
            len({value.shape[1:] for value in values}) > 1 and not self._batching.pad_variable_length_inputs
        ):
            raise unfit(
                f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off. Set "
                "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
                "dimensions starting with the first dim."
            )
        inner = tuple(np.max([value.shape[1:] for value in values], axis=0).astype(int).tolist())
        # As in TensorFlow Serving: short rows are filled with their tensor's first value, the batch with its first row.
        values = [_padded(value, inner) for value in values]
        missing = size - sum(len(value) for value in values)
        if missing:
            values.append(np.repeat(values[0][:1], missing, axis=0))
        return values[0] if len(values) == 1 else np.concatenate(values)


def _padded(value: Array, inner: tuple[int, ...]) -> Array:
    if value.shape[1:] == inner:
        return value
    padded = np.full((len(value), *inner), value.flat[0] if value.size else 0, value.dtype)
    padded[tuple(map(slice, value.shape))] = value
    return padded
