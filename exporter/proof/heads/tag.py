"""The logits of transformers' ``*ForTokenClassification``: one dense layer over each token's vector, after further
layers in ModernBERT."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..families import name_of
from ..families.layers import Layers
from .classify import prediction_head


def logits(
    outputs: Mapping[str, np.ndarray], config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Logits, float64 ``[tokens, tags]``; arguments as in :func:`.classify.logits`."""
    on, x = Layers(tensors, config.get("norm_eps", 1e-5)), outputs["sequence_output"]
    if name_of(config) == "modernbert":
        x = prediction_head(on, config, x)
    return on.linear(x, "classifier")
