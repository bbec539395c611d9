"""The logits of transformers' ``*ForTokenClassification``: in every family one dense layer over each token's vector."""

from collections.abc import Mapping

import numpy as np

from ..families.layers import Layers


def logits(outputs: Mapping[str, np.ndarray], family: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Logits, float64 ``[tokens, tags]``; arguments as those of :func:`.classify.logits`."""
    return Layers(tensors, 0.0).linear(outputs["sequence_output"], "classifier")
