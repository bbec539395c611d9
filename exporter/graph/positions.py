"""Position tables, computed once, so that the graph only needs lookups."""

import math

import numpy as np

from ..families.config import Disentangled, RelativeBias


def buckets(bias: RelativeBias, positions: int) -> np.ndarray:
    """The bucket of each distance of a relative attention bias (see :class:`..families.config.RelativeBias`).

    Args:
        bias: parameters of the buckets.
        positions: maximum tokens of a text.

    Returns:
        int64 ``[2 * positions - 1]``: element ``positions - 1 + d`` is for a key ``d`` tokens after its query.
    """
    distance = np.arange(1 - positions, positions)
    half = bias.buckets // 2
    exact = half // 2
    away = np.abs(distance)
    # float32 as in training, so that logarithms at a boundary round to the same side.
    ratio = np.log(np.maximum(away, 1).astype(np.float32) / exact) / np.float32(math.log(bias.max_distance / exact))
    far = exact + (ratio * (half - exact)).astype(np.int64)
    return np.where(away < exact, away, np.minimum(far, half - 1)) + np.where(distance > 0, half, 0)


def rows_of_distances(distances: Disentangled, positions: int) -> np.ndarray:
    """Rows of the distance table.

    Args:
        distances: parameters of the rows.
        positions: maximum tokens of a text.

    Returns:
        int32 ``[2 * positions]``: element ``positions - 1 + d`` is for a query ``d`` tokens after its key.
    """
    distance = np.arange(1 - positions, positions + 1)
    away = np.abs(distance)
    if distances.farthest is not None:
        middle = distances.span // 2
        # float32 as in training.
        ratio = np.log((np.maximum(away, middle) / middle).astype(np.float32))
        ratio /= np.log(np.float32((distances.farthest - 1) / middle))
        far = np.ceil(ratio * np.float32(middle - 1)).astype(np.int64) + middle
        away = np.where(away <= middle, away, far)
    return np.clip(np.sign(distance) * away + distances.span, 0, 2 * distances.span - 1).astype(np.int32)


def turns(theta: float, positions: int, size: int) -> np.ndarray:
    """Rotary positions: cosines, then sines of the angles (see :class:`..families.config.EncoderConfig`).

    Args:
        theta: base of the angles.
        positions: maximum tokens of a text.
        size: size of a head, D.

    Returns:
        float32 ``[positions, D]``.
    """
    # float32 in every step up to the angle, as in training: at far positions the angle's error is 1e-4.
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    speed = np.float32(1) / (theta ** exponents.astype(np.float64)).astype(np.float32)
    angles = (np.arange(positions, dtype=np.float32)[:, np.newaxis] * speed).astype(np.float64)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
