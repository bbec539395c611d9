"""The interface of contestants, and shared code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Contestant", "Setup", "in_sorted_batches", "mean_pooled", "tokenizer", "torch_dtype"]


@dataclass(frozen=True)
class Setup:
    """Settings of a contestant.

    Args:
        source: sentence-transformers folder of the model.
        work: folder for prepared files: exports, ONNX files.
        precision: ``float32`` or ``bfloat16``.
        threads: number of compute threads.
        max_tokens: maximum tokens of a text.
        batch: maximum texts in one batch of contestants that sort and split their input; sentence-transformers'
            default.
        device: ``cpu`` or ``cuda``, for PyTorch and ONNX Runtime; TensorFlow uses every GPU that it sees.
    """

    source: Path
    work: Path
    precision: str = "float32"
    threads: int = 1
    max_tokens: int = 128
    batch: int = 32
    device: str = "cpu"


class Contestant:
    """One way to turn texts into embeddings: mean of the token vectors, scaled to length 1."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def prepare(self) -> None:
        """Create missing files for :meth:`load` in ``setup.work``; runs in a separate process. None by default."""

    def load(self) -> None:
        """Load the model, so that calls are possible."""
        raise NotImplementedError

    def embed(self, texts: list[str]) -> np.ndarray:
        """Float32 ``[B, H]`` of B texts."""
        raise NotImplementedError

    def close(self) -> None:
        """Undo :meth:`load`, where the end of the process does not."""


def torch_dtype(setup: Setup) -> Any:
    """The precision as a dtype of PyTorch, which then computes with the threads of the setup."""
    import torch

    torch.set_num_threads(setup.threads)
    return getattr(torch, setup.precision)


def tokenizer(setup: Setup) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, for peers that take tokens."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(setup.source))


def in_sorted_batches(run: Callable[[list[str]], np.ndarray], texts: list[str], batch: int) -> np.ndarray:
    """Sort by length, run in batches, and restore the order of the texts.

    This is sentence-transformers' treatment of a list of texts. Contestants that only run one padded batch get it too,
    because nobody would pass them hundreds of different texts at once.
    """
    if len(texts) <= batch:
        return run(texts)
    order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
    parts = [run([texts[at] for at in order[first : first + batch]]) for first in range(0, len(texts), batch)]
    vectors = np.concatenate(parts)
    result = np.empty_like(vectors)
    result[order] = vectors
    return result


def mean_pooled(sequence: Any, mask: Any) -> Any:
    """TensorFlow: token vectors ``[B, T, H]`` and int32 mask ``[B, T]`` -> ``[B, H]`` of length 1."""
    import tensorflow as tf

    weights = tf.cast(mask, tf.float32)[:, :, tf.newaxis]  # [B, T, 1]
    mean = tf.reduce_sum(sequence * weights, axis=1) / tf.reduce_sum(weights, axis=1)
    return tf.math.l2_normalize(mean, axis=-1)
