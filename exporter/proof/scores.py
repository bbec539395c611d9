"""How far scores are from the reference's logits, and which label goes with scores.

A probability says less of a logit the nearer it is to 0 or 1, and a fault may move it by less than a vector may be off.
So an answer is held to the logit that it stands for, as far as float32 tells.
"""

import math
from collections.abc import Sequence

import numpy as np

#: What float32 may be off in a probability p: a part of it, and of numbers near 1 no more than some units of the last
#: place. (TensorFlow's softmax was seen to be off by 2.4e-6 p and 2.9e-7, its sigmoid by 4.9e-7 p and 1.4e-7.)
_PART, _MOST, _TINY = 5e-6, 1e-6, 1e-37


def off(got: np.ndarray, logits: np.ndarray, activation: str) -> tuple[float, float]:
    """How far scores are from the reference.

    Args:
        got: scores ``[..., labels]``, or one for each text.
        logits: the reference's, of the same shape.
        activation: what makes the scores: ``softmax`` of the last axis, ``sigmoid`` or ``identity``.

    Returns:
        The least by which the logits that scores were made of differ from the reference's, NaN where they are no such
        scores; and the largest difference of the scores themselves.
    """
    got, logits = got.astype(np.float64), logits.astype(np.float64)
    if activation == "identity":
        apart = float(np.abs(got - logits).max())
        return apart, apart
    if activation == "sigmoid":
        log_p = -np.logaddexp(0, -logits)
    else:
        log_p = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    apart = float(np.abs(got - np.exp(log_p)).max())
    if not np.all((got >= 0) & (got <= 1)):
        return math.nan, apart
    rounding = np.minimum(_PART * got, _MOST) + _TINY
    low, high = np.maximum(got - rounding, 0), np.minimum(got + rounding, 1)
    with np.errstate(divide="ignore"):
        if activation == "sigmoid":
            least, most = np.log(low) - np.log1p(-low), np.log(high) - np.log1p(-high)
            distance = np.maximum(least - logits, logits - most)
        else:  # the logarithm of a softmax moves by at most twice as much as the logits
            distance = np.maximum(np.log(low) - log_p, log_p - np.log(high)) / 2
    return max(float(distance.max()), 0.0), apart


def highest(scores: np.ndarray, names: Sequence[str]) -> set[bytes]:
    """The names that go with the highest of one text's or token's scores; several only where scores are equal."""
    return {names[at].encode() for at in np.flatnonzero(scores == scores.max()).tolist()}
