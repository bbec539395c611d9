"""What every contestant does, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Contestant", "Setup", "in_sorted_batches", "mean_pooled", "tokenizer"]


@dataclass(frozen=True)
class Setup:
    """How a contestant is to run.

    Args:
        source: sentence-transformers folder of the model.
        work: folder for what is made of it once: exports, ONNX files.
        precision: ``float32`` or ``bfloat16``.
        threads: how many a contestant may compute with.
        max_tokens: where texts are cut.
        batch: most texts in one batch of those that sort and split what they are given, as
            sentence-transformers does; its default.
    """

    source: Path
    work: Path
    precision: str = "float32"
    threads: int = 1
    max_tokens: int = 128
    batch: int = 32


class Contestant(Protocol):
    """One way to turn texts into embeddings: mean of the token vectors, scaled to length 1."""

    def __init__(self, setup: Setup) -> None: ...

    def prepare(self) -> None:
        """Make what :meth:`load` needs in ``setup.work``, where it is not there; runs in a process of its own."""

    def load(self) -> None:
        """Be ready for calls."""

    def embed(self, texts: list[str]) -> np.ndarray:
        """Float32 ``[B, H]`` of B texts."""

    def close(self) -> None:
        """Stop what :meth:`load` started."""


def tokenizer(setup: Setup) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, as the peers that are fed tokens use it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(setup.source))


def in_sorted_batches(run: Callable[[list[str]], np.ndarray], texts: list[str], batch: int) -> np.ndarray:
    """Sort by length, run in batches, and put the results into the order of the texts.

    What sentence-transformers does with a list of texts; those that only run one padded batch get it too, for
    nobody would give them hundreds of unlike texts at once.
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
