"""From the vectors of a text's tokens to one embedding, as in sentence-transformers."""

import math
from typing import Any

import numpy as np

from ..numerics import ACTIVATIONS


def embed(tokens: np.ndarray, recipe: list[Any]) -> np.ndarray:
    """One embedding, float64 ``[dim]``.

    Args:
        tokens: ``[tokens, hidden]``, without padding.
        recipe: a tuple of pooling modes, then ``"normalize"`` or ``(weight, bias, activation)`` steps.
    """
    ranks = np.arange(1, len(tokens) + 1)[:, None]
    pooled = {
        "cls": lambda: tokens[0],
        "lasttoken": lambda: tokens[-1],
        "max": lambda: tokens.max(0),
        "mean": lambda: tokens.sum(0) / len(tokens),
        "mean_sqrt_len_tokens": lambda: tokens.sum(0) / math.sqrt(len(tokens)),
        "weightedmean": lambda: (tokens * ranks).sum(0) / ranks.sum(),
    }
    x = np.concatenate([pooled[mode]() for mode in recipe[0]])
    for step in recipe[1:]:
        if step == "normalize":
            x = x / max(float(np.linalg.norm(x)), 1e-12)
        else:
            weight, bias, name = step
            x = ACTIVATIONS[name](weight.astype(np.float64) @ x + np.asarray(bias, np.float64))
    return x
