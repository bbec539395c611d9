"""ALBERT's forward pass (Lan et al., 2020, https://arxiv.org/abs/1909.11942): narrow embeddings that are always
projected, and layers that are applied repeatedly (3.1: factorized embeddings, cross-layer sharing)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..numerics import ACTIVATIONS
from .layers import Layers


def first_row(config: Mapping[str, Any]) -> int:
    """See :class:`.Twin`."""
    return 0


def forward(
    tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], ids: np.ndarray, types: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """See :class:`.Twin`."""
    on = Layers(tensors, config.get("layer_norm_eps", 1e-12))
    x = on.rows("embeddings.word_embeddings", ids) + on.rows("embeddings.position_embeddings", slice(len(ids)))
    x = x + on.rows("embeddings.token_type_embeddings", np.zeros_like(ids) if types is None else types)
    x = on.linear(on.norm(x, "embeddings.LayerNorm"), "encoder.embedding_hidden_mapping_in")
    activation = ACTIVATIONS[config.get("hidden_act", "gelu_new")]
    layers = config["num_hidden_layers"]
    layers_of_a_group = layers / config.get("num_hidden_groups", 1)
    for index in range(layers):
        # Truncated from floating point, as in transformers.
        layer = f"encoder.albert_layer_groups.{int(index / layers_of_a_group)}.albert_layers.0"
        names = [f"{layer}.attention.{part}" for part in ("query", "key", "value")]
        mixed = on.linear(on.attention(x, names, config["num_attention_heads"]), f"{layer}.attention.dense")
        x = on.norm(x + mixed, f"{layer}.attention.LayerNorm")
        inner = on.linear(activation(on.linear(x, f"{layer}.ffn")), f"{layer}.ffn_output")
        x = on.norm(x + inner, f"{layer}.full_layer_layer_norm")
    outputs = {"sequence_output": x}
    if "pooler" in on:
        outputs["pooled_output"] = np.tanh(on.linear(x[0], "pooler"))
    return outputs
