"""The logit of a ``*ForSequenceClassification`` with one output: a reranker's or a regression's."""

from collections.abc import Mapping

import numpy as np

from . import classify


def logits(outputs: Mapping[str, np.ndarray], family: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """The logit, float64 ``[]``; arguments as those of :func:`.classify.logits`."""
    return classify.logits(outputs, family, tensors).reshape(())
