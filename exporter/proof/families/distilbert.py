"""DistilBERT's forward pass (Sanh et al., 2019, https://arxiv.org/abs/1910.01108): no token types."""

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
    on = Layers(tensors, 1e-12)
    x = on.rows("embeddings.word_embeddings", ids) + on.rows("embeddings.position_embeddings", slice(len(ids)))
    x = on.norm(x, "embeddings.LayerNorm")
    activation = ACTIVATIONS[config.get("activation", "gelu")]
    for index in range(config.get("num_hidden_layers") or config["n_layers"]):
        layer = f"transformer.layer.{index}"
        names = [f"{layer}.attention.{part}_lin" for part in "qkv"]
        # In transformers BERT's names of settings have precedence over DistilBERT's.
        attended = on.attention(x, names, config.get("num_attention_heads") or config["n_heads"])
        x = on.norm(x + on.linear(attended, f"{layer}.attention.out_lin"), f"{layer}.sa_layer_norm")
        inner = on.linear(activation(on.linear(x, f"{layer}.ffn.lin1")), f"{layer}.ffn.lin2")
        x = on.norm(x + inner, f"{layer}.output_layer_norm")
    return on.outputs(x)
