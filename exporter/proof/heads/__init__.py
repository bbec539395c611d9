"""The reference's heads in numpy float64, from the vectors of one text to an output, and their table.

They share no code with :mod:`...graph.heads`. ``pooled``, ``sequence`` and ``tokenize`` return outputs of encoder and
tokenizer unchanged, and need no head. Heads with scores return logits; :mod:`..scores` compares scores with logits.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ....serving.contract import CLASSIFY, EMBED, SCORE, SEQUENCE, TAG
from . import classify, score, tag
from .embedding import embed

#: Name of the output -> function from the encoder's outputs and the head's settings (such as a pooling recipe).
HEADS: Mapping[str, Callable[[dict[str, np.ndarray], Any], np.ndarray]] = {
    EMBED.outputs[0].name: lambda outputs, recipe: embed(outputs[SEQUENCE.outputs[0].name], recipe),
    CLASSIFY.outputs[0].name: lambda outputs, read: classify.logits(outputs, *read),
    TAG.outputs[0].name: lambda outputs, read: tag.logits(outputs, *read),
    SCORE.outputs[0].name: lambda outputs, read: score.logits(outputs, *read),
}


def answers(outputs: dict[str, np.ndarray], settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The encoder's outputs for one text or pair, and those of all heads with settings."""
    return {**outputs, **{name: HEADS[name](outputs, each) for name, each in settings.items()}}
