"""Positions as tables of numbers, made once: the graph need only look them up."""

import math

import numpy as np

from ..families.config import Disentangled, RelativeBias


def buckets(bias: RelativeBias, positions: int) -> np.ndarray:
    """The bucket of each distance in a relative attention bias (see :class:`..families.config.RelativeBias`).

    Args:
        bias: which buckets there are.
        positions: most tokens of a text.

    Returns:
        int64 ``[2 * positions - 1]``: number ``positions - 1 + d`` for a key that is ``d`` after its query.
    """
    distance = np.arange(1 - positions, positions)
    half = bias.buckets // 2
    exact = half // 2
    away = np.abs(distance)
    # float32, as the models are trained with: a logarithm that is whole must fall on the same side.
    ratio = np.log(np.maximum(away, 1).astype(np.float32) / exact) / np.float32(math.log(bias.max_distance / exact))
    far = exact + (ratio * (half - exact)).astype(np.int64)
    return np.where(away < exact, away, np.minimum(far, half - 1)) + np.where(distance > 0, half, 0)


def rows_of_distances(distances: Disentangled, positions: int) -> np.ndarray:
    """Rows of the table of distances.

    Args:
        distances: which distance has which row.
        positions: most tokens of a text.

    Returns:
        int32 ``[2 * positions]``: number ``positions - 1 + d`` for a query that is ``d`` after its key.
    """
    distance = np.arange(1 - positions, positions + 1)
    away = np.abs(distance)
    if distances.farthest is not None:
        middle = distances.span // 2
        # float32, as the models are trained with.
        ratio = np.log((np.maximum(away, middle) / middle).astype(np.float32))
        ratio /= np.log(np.float32((distances.farthest - 1) / middle))
        far = np.ceil(ratio * np.float32(middle - 1)).astype(np.int64) + middle
        away = np.where(away <= middle, away, far)
    return np.clip(np.sign(distance) * away + distances.span, 0, 2 * distances.span - 1).astype(np.int32)


def turns(theta: float, positions: int, size: int) -> np.ndarray:
    """Rotary positions: the cosines and then the sines of the angles (see :class:`..families.config.EncoderConfig`).

    Args:
        theta: of the angles.
        positions: most tokens of a text.
        size: numbers of a head, D.

    Returns:
        float32 ``[positions, D]``.
    """
    # float32 step by step up to the angle, as the models are trained with: an angle is off by 1e-4 at far positions.
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    speed = np.float32(1) / (theta ** exponents.astype(np.float64)).astype(np.float32)
    angles = (np.arange(positions, dtype=np.float32)[:, np.newaxis] * speed).astype(np.float64)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
