"""The logit of a ``*ForSequenceClassification`` with one output: a reranker or a regression."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import classify


def logits(
    outputs: Mapping[str, np.ndarray], config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The logit, float64 ``[]``; arguments as in :func:`.classify.logits`."""
    return classify.logits(outputs, config, tensors).reshape(())
