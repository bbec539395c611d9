"""A loaded version as the services call it: with its batcher, or with turns."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..contract import BATCHING_FILE
from ..wire.codec import Array
from .batcher import Batcher, Task, Wanted, gone
from .options import Batching, ServerOptions, parse_batching, read_file
from .runtime import SavedModel


class Model:
    """A version of a model, loaded.

    Args:
        folder: the version folder.
        options: the server's flags.
        batching: parameters for all models; ``None`` where calls are not batched.
    """

    def __init__(self, folder: Path, options: ServerOptions, batching: Batching | None = None) -> None:
        cores = os.cpu_count() or 1
        threads = (batching and batching.threads) or cores
        if batching and options.enable_per_model_batching_parameters:
            own = folder / BATCHING_FILE
            batching = read_file(own, parse_batching) if own.is_file() else None
        self._saved = SavedModel(folder, options.saved_model_tags.split(","), *options.parallelism)
        self.signatures: Mapping[str, Any] = self._saved.signatures
        self.warmup = self._saved.warmup
        self._batcher = Batcher(batching, self._saved.run, threads) if batching else None
        # Calls that are not batched take turns in the order in which they came: each run takes what it can of the
        # cores, and many at once only take memory.
        self._turns = ThreadPoolExecutor(max(8, 4 * cores), thread_name_prefix="rawbert-run")

    def run(self, name: str, inputs: Mapping[str, Array], outputs: Sequence[str], wanted: Wanted) -> dict[str, Array]:
        """Run a signature, with other callers where they are batched; arrays by output name."""
        if self._batcher and inputs:
            return self._batcher.run(name, Task(inputs, outputs, wanted))

        def run() -> dict[str, Array]:
            if not wanted():
                raise gone()
            return self._saved.run(name, inputs, outputs)

        return self._turns.submit(run).result()

    def close(self) -> None:
        """Free the model; nothing may be running."""
        if self._batcher:
            self._batcher.close()
        self._turns.shutdown()
        self._saved.close()
