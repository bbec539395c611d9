"""A loaded version as the services call it: with its batcher, its warmup done."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from .. import malloc
from . import memory
from .admission import Backlog, Caller, Turns, late
from .batcher import Array, Batcher, Task
from .failure import Failure
from .options import BATCHING_FILE, Batching, ServerOptions, parse_batching
from .runtime import SavedModel

__all__ = ["Model"]

_LOG = logging.getLogger(__name__)
_INIT_OP = "__saved_model_init_op"

Code = grpc.StatusCode

#: Bytes of inputs from which on a run waits for others like it, of whatever model, and memory is given back after it:
#: tokenization takes some forty times as much as its text.
_LARGE = 1 << 20
_ONE_LARGE = threading.Lock()

#: What a trial run may not end with: statuses of a fault in the model itself. With any other, such as
#: INVALID_ARGUMENT, a sound model may refuse a made-up input.
_FAULTS = {Code.NOT_FOUND, Code.FAILED_PRECONDITION, Code.UNIMPLEMENTED, Code.INTERNAL, Code.DATA_LOSS}


class Model:
    """A version of a model, loaded.

    Args:
        folder: the version folder.
        options: the server's flags.
        batching: parameters for all models; ``None`` where calls are not batched.

    Raises:
        Failure: it cannot be loaded.
    """

    def __init__(self, folder: Path, options: ServerOptions, batching: Batching | None = None) -> None:
        threads = batching.threads if batching else None
        if batching and options.enable_per_model_batching_parameters:
            batching = _own_batching(folder)
        self._saved = SavedModel(folder, options.saved_model_tags.split(","), *options.parallelism)
        self.signatures: Mapping[str, Any] = self._saved.signatures
        # Each run takes what it can of the cores: many at once only take memory.
        self._turns = Turns(max(8, 4 * (os.cpu_count() or 1)))
        self._backlog = Backlog()
        threads = threads or os.cpu_count() or 1
        self._batcher = Batcher(batching, self._run, threads, self._longest) if batching else None

    def run(self, name: str, inputs: Mapping[str, Array], outputs: Sequence[str], caller: Caller) -> dict[str, Array]:
        """Run a signature, with other callers where they are batched; arrays by output name.

        Raises:
            Failure: TensorFlow refuses the inputs, the model fails on them, the queue is full, or the answer would
                come too late.
        """
        with self._backlog.let_in(name, _rows(inputs), caller):
            if self._batcher and inputs:
                return self._batcher.run(name, Task(inputs, outputs, caller))
            if not self._turns.acquire(timeout=caller.patience(self._longest(name))):
                raise late()
            try:
                caller.check()
                return self._run(name, inputs, outputs)
            finally:
                self._turns.release()

    def _run(self, name: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        with self._backlog.run(name, _rows(inputs)):
            if _bytes(inputs) < _LARGE:
                return self._saved.run(name, inputs, outputs)
            with _ONE_LARGE:
                try:
                    return self._saved.run(name, inputs, outputs)
                finally:
                    malloc.trim()
                    memory.trim_soon()

    def _longest(self, name: str) -> float:
        return self._backlog.longest(name)

    def warm_up(self, replay: Callable[[Any], object], times: int = 1) -> None:
        """Replay the records that came with the version, or run each signature once where there are none.

        Raises:
            Failure: a record failed, the file is none, or a trial run showed a fault of the model.
        """
        from tensorflow_serving.apis import prediction_log_pb2

        records = self._saved.warmup_records()
        for record in records:
            try:
                log = prediction_log_pb2.PredictionLog.FromString(record)
            except Exception as error:
                raise Failure(Code.INVALID_ARGUMENT, f"Failed to parse warmup record: {record!r}") from error
            if not log.HasField("predict_log"):
                _LOG.warning("a warmup record that is no Predict request is left out")
                continue
            for _ in range(max(1, times)):
                replay(log.predict_log.request)
        if not records:
            self._try()
        self._backlog = Backlog()  # the first runs of all take longer than any after them

    def close(self) -> None:
        """Free the model; nothing may be running."""
        if self._batcher:
            self._batcher.close()
        self._saved.close()

    def _try(self) -> None:
        for name in self.signatures:
            if name == _INIT_OP:
                continue
            try:
                self._saved.trial(name)
            except Failure as failure:
                if failure.code in _FAULTS:
                    raise Failure(failure.code, f"trial run of the signature {name!r}: {failure}") from failure
                _LOG.debug("trial run of the signature %r: %s", name, failure)


def _rows(inputs: Mapping[str, Array]) -> int:
    """The size of a batch, by the first of its inputs."""
    value = next(iter(inputs.values()), None)
    return len(value) if value is not None and value.ndim else 1


def _bytes(inputs: Mapping[str, Array]) -> int:
    return sum(sum(map(len, value.flat)) if value.dtype == object else value.nbytes for value in inputs.values())


def _own_batching(folder: Path) -> Batching | None:
    path = folder / BATCHING_FILE
    if not path.is_file():
        return None
    try:
        return parse_batching(path.read_text(encoding="utf-8"))
    except (Failure, OSError, UnicodeDecodeError) as error:
        raise Failure(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}': {error}") from error
