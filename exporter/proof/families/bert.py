"""The forward pass of BERT (Devlin et al., 2018, https://arxiv.org/abs/1810.04805).

ELECTRA's (Clark et al., 2020, https://arxiv.org/abs/2003.10555) is the same, over narrower embeddings.
"""

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
    """See :class:`.Twin`. Narrow embeddings are projected, as in ELECTRA."""
    on = Layers(tensors, config.get("layer_norm_eps", 1e-12))
    x = on.rows("embeddings.word_embeddings", ids)
    x = x + on.rows("embeddings.position_embeddings", slice(len(ids)))
    x = x + on.rows("embeddings.token_type_embeddings", np.zeros_like(ids) if types is None else types)
    x = on.norm(x, "embeddings.LayerNorm")
    if "embeddings_project" in on:
        x = on.linear(x, "embeddings_project")
    activation = ACTIVATIONS[config.get("hidden_act", "gelu")]
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        names = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
        attended = on.attention(x, names, config["num_attention_heads"])
        x = on.norm(x + on.linear(attended, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = activation(on.linear(x, f"{layer}.intermediate.dense"))
        x = on.norm(x + on.linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return on.outputs(x)
