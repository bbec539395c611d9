"""``classify``: the labels of a text or pair, each with a score."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from ...sources.checkpoint import Checkpoint, Head
from ...tokenizers.templates import Encoding
from .logits import Scores, every_row, head_of, highest
from .plain import Encoder


def of(checkpoint: Checkpoint) -> ClassifyHead:
    """The head of a classifier."""
    return ClassifyHead(head_of(checkpoint))


class ClassifyHead(tf.Module):
    """A classifier as a graph."""

    def __init__(self, head: Head) -> None:
        super().__init__(name="classify_head")
        self._scores, self._labels = Scores(head), head.labels

    def __call__(self, tokens: Encoding, encoder: Encoder) -> Sequence[tf.Tensor]:
        """``scores``, ``label`` and ``labels``."""
        scores, names = self._scores(tokens, encoder), tf.constant(self._labels)
        return [scores, highest(scores, names), every_row(names, tokens)]
