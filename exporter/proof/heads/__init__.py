"""The reference's heads in numpy float64: what a signature makes of the vectors of one text, and the table of them.

They share nothing with :mod:`...graph.heads`. What ``pooled``, ``sequence`` and ``tokenize`` answer is the encoder's
and the tokenizer's own, and needs none. Heads with scores give the logits; :mod:`..scores` says what scores stand for.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ....serving.contract import CLASSIFY, EMBED, SCORE, SEQUENCE, TAG
from . import classify, score, tag
from .embedding import embed

#: By name of the output: makes it of the encoder's outputs and of what was read for it (a pooling recipe, say).
HEADS: Mapping[str, Callable[[dict[str, np.ndarray], Any], np.ndarray]] = {
    EMBED.outputs[0].name: lambda outputs, recipe: embed(outputs[SEQUENCE.outputs[0].name], recipe),
    CLASSIFY.outputs[0].name: lambda outputs, read: classify.logits(outputs, *read),
    TAG.outputs[0].name: lambda outputs, read: tag.logits(outputs, *read),
    SCORE.outputs[0].name: lambda outputs, read: score.logits(outputs, *read),
}


def answers(outputs: dict[str, np.ndarray], settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The encoder's outputs of one text or pair, and those of the heads that there are settings for."""
    return {**outputs, **{name: HEADS[name](outputs, each) for name, each in settings.items()}}
