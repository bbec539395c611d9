"""MPNet's forward pass (Song et al., 2020, https://arxiv.org/abs/2004.09297)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..numerics import ACTIVATIONS
from .layers import Layers


def first_row(config: Mapping[str, Any]) -> int:
    """See :class:`.Twin`."""
    return 2


def forward(
    tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], ids: np.ndarray, types: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """See :class:`.Twin`."""
    on = Layers(tensors, config.get("layer_norm_eps", 1e-12))
    # <pad> always has row 1 of the positions; other tokens count from 2.
    positions, place = [], 1
    for token in ids.tolist():
        place += token != 1
        positions.append(1 if token == 1 else place)
    x = on.rows("embeddings.word_embeddings", ids) + on.rows("embeddings.position_embeddings", np.array(positions))
    x = on.norm(x, "embeddings.LayerNorm")
    at = np.arange(len(ids))
    buckets = np.array([_bucket(distance) for distance in range(1 - len(ids), len(ids))])
    bias = on.rows("encoder.relative_attention_bias", buckets)[at - at[:, None] + len(ids) - 1]  # [query, key, heads]
    activation = ACTIVATIONS[config.get("hidden_act", "gelu")]
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        names = [f"{layer}.attention.attn.{part}" for part in "qkv"]
        attended = on.attention(x, names, config["num_attention_heads"], bias.transpose(2, 0, 1))
        x = on.norm(x + on.linear(attended, f"{layer}.attention.attn.o"), f"{layer}.attention.LayerNorm")
        inner = activation(on.linear(x, f"{layer}.intermediate.dense"))
        x = on.norm(x + on.linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return on.outputs(x)


def _bucket(distance: int) -> int:
    """T5's bucket of 32 (https://arxiv.org/abs/1910.10683, 2.1) for a key ``distance`` tokens after its query.

    Keys before the query have buckets 0 to 15, keys after it 16 to 31: single distances up to 7, then two buckets for
    each doubling, up to 128.
    """
    away = abs(distance)
    near = away if away < 8 else min(8 + math.floor(2 * math.log2(away / 8)), 15)
    return near + 16 * (distance > 0)
