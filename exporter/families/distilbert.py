"""DistilBERT (Sanh et al., 2019, https://arxiv.org/abs/1910.01108): BERT without token types, by other names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import checks
from .config import EncoderConfig

__all__ = ["NAMES", "read_config"]

NAMES = {
    "embeddings/word": "embeddings.word_embeddings",
    "embeddings/position": "embeddings.position_embeddings",
    "embeddings/type": "embeddings.token_type_embeddings",  # named in order to be refused
    "embeddings/layer_norm": "embeddings.LayerNorm",
    "layer_N/attention/query": "transformer.layer.N.attention.q_lin",
    "layer_N/attention/key": "transformer.layer.N.attention.k_lin",
    "layer_N/attention/value": "transformer.layer.N.attention.v_lin",
    "layer_N/attention/output": "transformer.layer.N.attention.out_lin",
    "layer_N/attention/layer_norm": "transformer.layer.N.sa_layer_norm",
    "layer_N/intermediate": "transformer.layer.N.ffn.lin1",
    "layer_N/output": "transformer.layer.N.ffn.lin2",
    "layer_N/output/layer_norm": "transformer.layer.N.output_layer_norm",
    "pooler": "pooler.dense",
}


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    checks.refuse_other_graphs(config, path)
    return EncoderConfig(
        family="distilbert",
        vocab_size=checks.size(config, "vocab_size", path),
        hidden_size=checks.size(config, "dim", path),
        num_layers=checks.size(config, "n_layers", path),
        num_heads=checks.heads(config, "n_heads", "dim", path),
        intermediate_size=checks.size(config, "hidden_dim", path),
        max_positions=checks.size(config, "max_position_embeddings", path),
        type_vocab_size=0,
        activation=checks.activation(config, "activation", path),
        layer_norm_eps=1e-12,  # fixed in its code
    )
