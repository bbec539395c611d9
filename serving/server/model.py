"""A loaded version with its queue: a batcher, or calls in turn."""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc

from ..contract import BATCHING_FILE
from ..wire.codec import Array
from .batcher import Batcher, Task, Wanted, gone
from .failure import Failure
from .metrics import Metrics, microseconds_since
from .options import Batching, ServerOptions, parse_batching, read_file
from .runtime import SavedModel


class Model:
    """A loaded version of a model.

    Args:
        name: the model's name.
        folder: the version folder.
        options: the server's flags.
        batching: parameters for all models; ``None`` without batching.
        metrics: metrics of the server.
    """

    def __init__(
        self, name: str, folder: Path, options: ServerOptions, batching: Batching | None, metrics: Metrics
    ) -> None:
        cores = os.cpu_count() or 1
        threads = (batching and batching.threads) or cores
        if batching and options.enable_per_model_batching_parameters:
            own = folder / BATCHING_FILE
            pool = batching.thread_pool_name
            batching = replace(read_file(own, parse_batching), thread_pool_name=pool) if own.is_file() else None
        self._saved = SavedModel(folder, options.saved_model_tags.split(","), *options.parallelism)
        self.signatures: Mapping[str, Any] = self._saved.signatures
        self.warmup = self._saved.warmup
        self._runtime_latency = metrics.runtime_latency.labels(name, "Predict", "TF1")
        self._batcher = Batcher(batching, self._saved.run, threads, metrics) if batching else None
        # Calls without batching run in their order of arrival: each run uses as many cores as it can, and more runs at
        # the same time would only need more memory.
        self._turns = ThreadPoolExecutor(max(8, 4 * cores), thread_name_prefix="rawbert-run")

    def run(
        self,
        name: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        wanted: Wanted,
        timeout: float | None = None,
    ) -> dict[str, Array]:
        """Run a signature, with batching together with other calls; returns arrays by output name.

        Raises:
            Failure: the model fails; DEADLINE_EXCEEDED after ``timeout`` seconds. The computation then continues,
                because it cannot be interrupted.
        """
        start = time.monotonic()
        try:
            if self._batcher and inputs:
                answer = self._batcher.run(name, Task(inputs, outputs, wanted), timeout)
            else:
                answer = self._turns.submit(self._run_alone, name, inputs, outputs, wanted).result(timeout)
        except TimeoutError as error:
            raise Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Timed out waiting for notification") from error
        self._runtime_latency.observe(microseconds_since(start))
        return answer

    def _run_alone(
        self, name: str, inputs: Mapping[str, Array], outputs: Sequence[str], wanted: Wanted
    ) -> dict[str, Array]:
        if not wanted():
            raise gone()
        return self._saved.run(name, inputs, outputs)

    def close(self) -> None:
        """Free the model; no call may be running."""
        if self._batcher:
            self._batcher.close()
        self._turns.shutdown()
        self._saved.close()
