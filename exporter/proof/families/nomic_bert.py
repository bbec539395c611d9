"""NomicBERT's forward pass (Nussbaum et al., 2024, https://arxiv.org/abs/2402.01613)."""

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
    on, heads = Layers(tensors, config.get("layer_norm_eps", 1e-12)), config["num_attention_heads"]
    theta = (config.get("rope_parameters") or {}).get("rope_theta", 1000.0)
    activation = ACTIVATIONS[config.get("hidden_act", "silu")]
    x = on.rows("embeddings.word_embeddings", ids)
    x = x + on.rows("embeddings.token_type_embeddings", np.zeros_like(ids) if types is None else types)
    x = on.norm(x, "emb_ln")
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layers.{index}"
        query, key, value = np.split(on.linear(x, f"{layer}.attn.Wqkv", bias=False), 3, axis=-1)
        query, key = (on.turned(each, heads, theta) for each in (query, key))
        attended = on.linear(on.attend(query, key, value, heads), f"{layer}.attn.out_proj", bias=False)
        x = on.norm(x + attended, f"{layer}.norm1")
        activated = activation(on.linear(x, f"{layer}.mlp.fc12", bias=False))
        inner = activated * on.linear(x, f"{layer}.mlp.fc11", bias=False)
        x = on.norm(x + on.linear(inner, f"{layer}.mlp.fc2", bias=False), f"{layer}.norm2")
    return on.outputs(x)
