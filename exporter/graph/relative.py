"""Relative attention bias (T5, section 2.1 of https://arxiv.org/abs/1910.10683): from buckets to distances."""

from __future__ import annotations

import math

import numpy as np

from ..families.config import RelativeBias


def by_distance(table: np.ndarray, bias: RelativeBias, positions: int) -> np.ndarray:
    """A bias a head and distance, so that the graph need only look it up.

    Args:
        table: ``[buckets, heads]``, as it was learned.
        bias: which bucket a distance belongs to.
        positions: most tokens of a text.

    Returns:
        float32 ``[heads, 2 * positions - 1]``: column ``positions - 1 + d`` for a key that is ``d`` after its query.
    """
    distance = np.arange(1 - positions, positions)
    half = bias.buckets // 2
    exact = half // 2
    away = np.abs(distance)
    # float32, as the models are trained with: a logarithm that is whole must fall on the same side.
    ratio = np.log(np.maximum(away, 1).astype(np.float32) / exact) / np.float32(math.log(bias.max_distance / exact))
    far = exact + (ratio * (half - exact)).astype(np.int64)
    bucket = np.where(away < exact, away, np.minimum(far, half - 1)) + np.where(distance > 0, half, 0)
    return np.ascontiguousarray(np.asarray(table, np.float32)[bucket].T)
