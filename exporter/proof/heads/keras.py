"""The logits of a Keras model's head, layer by layer.

Formulas are those of Keras 2's layers at inference, where dropout and noise have no effect.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..numerics import ACTIVATIONS

_NAMES = {"linear": "identity", "swish": "silu"}


class Layer(NamedTuple):
    """A layer: its class, its configuration and its weights, in Keras' order."""

    kind: str
    config: dict[str, Any]
    weights: list[np.ndarray]


def logits(x: np.ndarray, layers: Sequence[Layer]) -> tuple[np.ndarray, str]:
    """The head's output before a final softmax or sigmoid, and the name of that activation, or ``linear``.

    Args:
        x: input of the first layer, ``[hidden]``, or ``[tokens, hidden]`` without padding.
        layers: layers of the head.

    Raises:
        ValueError: an unknown layer.
    """
    x, last = x.astype(np.float64), "linear"
    for layer in layers:
        kind, config, weights = layer
        x, last = _activated(x, last), "linear"
        if kind == "Dense":
            x = x @ weights[0].astype(np.float64) + (weights[1] if config["use_bias"] else 0)
            last = config["activation"]
        elif kind == "Activation":
            last = config["activation"]
        elif kind in ("ReLU", "Softmax"):
            last = kind.lower()
        elif kind in ("LayerNormalization", "BatchNormalization"):
            mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
            if kind == "BatchNormalization":  # statistics of the training texts
                *weights, mean, variance = weights
            x = (x - mean) / np.sqrt(variance + config["epsilon"])
            x = x * (weights[0] if config["scale"] else 1.0) + (weights[-1] if config["center"] else 0.0)
        elif kind == "SlicingOpLambda":
            x = x[0]
        elif kind == "GlobalAveragePooling1D":
            x = x.sum(0) / len(x)
        elif not kind.endswith(("Dropout", "Dropout1D", "Noise")):
            raise ValueError(f"the layer {config['name']} is a {kind}, which the reference does not support")
    return (x, last) if last in ("softmax", "sigmoid") else (_activated(x, last), "linear")


def _activated(x: np.ndarray, name: str) -> np.ndarray:
    if name == "softmax":
        raise ValueError("layers after a softmax")
    return ACTIVATIONS[_NAMES.get(name, name)](x)
