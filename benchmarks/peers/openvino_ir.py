"""OpenVINO on the CPU with the ONNX file, tuned for latency, as its documentation advises for one caller.

For bfloat16 it gets OpenVINO's own hint for the inference precision
(https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/precision-control.html).
"""

from __future__ import annotations

import numpy as np

from . import onnx
from .base import Contestant, in_sorted_batches, tokenizer

__all__ = ["Peer"]

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class Peer(Contestant):
    """See :class:`.base.Contestant`."""

    def prepare(self) -> None:
        """Export the model."""
        onnx.exported(self._setup)

    def load(self) -> None:
        """Load tokenizer and compiled model."""
        import openvino

        self._tokenizer = tokenizer(self._setup)
        compiled = openvino.Core().compile_model(
            str(onnx.exported(self._setup)),
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": self._setup.threads,
                "INFERENCE_PRECISION_HINT": _HINTS[self._setup.precision],
            },
        )
        self._request = compiled.create_infer_request()

    def embed(self, texts: list[str]) -> np.ndarray:
        """Float32 ``[B, H]``."""
        return in_sorted_batches(self._run, texts, self._setup.batch)

    def _run(self, texts: list[str]) -> np.ndarray:
        result = self._request.infer(onnx.feeds(self._tokenizer, texts, self._setup.max_tokens))
        # A copy: the request writes its next answer into the same memory.
        return np.array(result[0])
