"""The logit of a ``*ForSequenceClassification`` with one output: a reranker's or a regression's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import classify


def logits(
    outputs: Mapping[str, np.ndarray], config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The logit, float64 ``[]``; arguments as those of :func:`.classify.logits`."""
    return classify.logits(outputs, config, tensors).reshape(())
