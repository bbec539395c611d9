"""``score``: one number per pair or text, from a reranker or a regression."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from ...sources.checkpoint import Checkpoint, Head
from ...tokenizers.templates import Encoding
from .logits import Scores, head_of
from .plain import Encoder


def of(checkpoint: Checkpoint) -> ScoreHead:
    """The head with one output."""
    return ScoreHead(head_of(checkpoint))


class ScoreHead(tf.Module):
    """A head with one output as a graph."""

    def __init__(self, head: Head) -> None:
        super().__init__(name="score_head")
        self._scores = Scores(head)

    def __call__(self, tokens: Encoding, encoder: Encoder) -> Sequence[tf.Tensor]:
        """``score``."""
        return [self._scores(tokens, encoder)[:, 0]]
