"""The difference between scores and the reference's logits, and the label for scores.

The closer a probability is to 0 or 1, the less it shows about its logit, and a fault may change it by less than the
tolerance of vectors. So an answer is compared as a logit, as exactly as float32 permits.
"""

import math
from collections.abc import Sequence

import numpy as np

#: Largest float32 error of a probability p: a fraction of p, and near 1 at most a few units in the last place.
#: (Observed errors of TensorFlow's softmax: 2.4e-6 p and 2.9e-7; of its sigmoid: 4.9e-7 p and 1.4e-7.)
_PART, _MOST, _TINY = 5e-6, 1e-6, 1e-37


def off(got: np.ndarray, logits: np.ndarray, activation: str) -> tuple[float, float]:
    """The difference of scores from the reference.

    Args:
        got: scores ``[..., labels]``, or one for each text.
        logits: the reference's, of the same shape.
        activation: function from logits to scores: ``softmax`` of the last axis, ``sigmoid`` or ``identity``.

    Returns:
        A lower bound on the difference between the logits of the scores and the reference's, NaN for invalid scores;
        and the largest difference of the scores themselves.
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
        else:  # the logarithm of a softmax changes by at most twice as much as the logits
            distance = np.maximum(np.log(low) - log_p, log_p - np.log(high)) / 2
    return max(float(distance.max()), 0.0), apart


def highest(scores: np.ndarray, names: Sequence[str]) -> set[bytes]:
    """The names with the highest score of one text or token; several only for equal scores."""
    return {names[at].encode() for at in np.flatnonzero(scores == scores.max()).tolist()}
