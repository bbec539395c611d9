"""RoBERTa's forward pass (Liu et al., 2019, https://arxiv.org/abs/1907.11692).

XLM-RoBERTa (Conneau et al., 2020, https://arxiv.org/abs/1911.02116) and CamemBERT (Martin et al., 2020,
https://arxiv.org/abs/1911.03894) are the same network. Its layers are BERT's; positions are fairseq's: tokens are
numbered from the padding token's id plus 1.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..numerics import ACTIVATIONS
from .layers import Layers


def first_row(config: Mapping[str, Any]) -> int:
    """See :class:`.Twin`."""
    return int(config.get("pad_token_id", 1)) + 1


def forward(
    tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], ids: np.ndarray, types: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """See :class:`.Twin`."""
    on = Layers(tensors, config.get("layer_norm_eps", 1e-12))
    pad = first_row(config) - 1
    positions = np.full(len(ids), pad)
    tokens = np.flatnonzero(ids != pad)
    positions[tokens] = pad + 1 + np.arange(len(tokens))
    x = on.rows("embeddings.word_embeddings", ids) + on.rows("embeddings.position_embeddings", positions)
    x = x + on.rows("embeddings.token_type_embeddings", np.zeros_like(ids) if types is None else types)
    x = on.norm(x, "embeddings.LayerNorm")
    activation = ACTIVATIONS[config.get("hidden_act", "gelu")]
    for index in range(config["num_hidden_layers"]):
        attention, out = (f"encoder.layer.{index}.{part}" for part in ("attention", "output"))
        names = [f"{attention}.self.{part}" for part in ("query", "key", "value")]
        mixed = on.linear(on.attention(x, names, config["num_attention_heads"]), f"{attention}.output.dense")
        x = on.norm(x + mixed, f"{attention}.output.LayerNorm")
        inner = activation(on.linear(x, f"encoder.layer.{index}.intermediate.dense"))
        x = on.norm(x + on.linear(inner, f"{out}.dense"), f"{out}.LayerNorm")
    return on.outputs(x)
