"""ONNX Runtime, with all of its own graph optimizations (its default)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import onnx
from .base import Contestant, in_sorted_batches, tokenizer

__all__ = ["Peer"]


class Peer(Contestant):
    """See :class:`.base.Contestant`."""

    def prepare(self) -> None:
        """Export the model."""
        self._file()

    def _file(self) -> Path:
        return onnx.exported(self._setup)

    def load(self) -> None:
        """Load tokenizer and session."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._setup.threads
        options.inter_op_num_threads = 1
        self._tokenizer = tokenizer(self._setup)
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[self._setup.device]
        if self._setup.device == "cuda":
            onnxruntime.preload_dlls()  # those of the nvidia packages
        self._session = onnxruntime.InferenceSession(str(self._file()), options, providers=[provider])
        if self._session.get_providers()[0] != provider:
            raise RuntimeError(f"{provider} cannot be used: {self._session.get_providers()}")

    def embed(self, texts: list[str]) -> np.ndarray:
        """Float32 ``[B, H]``."""
        return in_sorted_batches(self._run, texts, self._setup.batch)

    def _run(self, texts: list[str]) -> np.ndarray:
        return self._session.run(None, onnx.feeds(self._tokenizer, texts, self._setup.max_tokens))[0]
