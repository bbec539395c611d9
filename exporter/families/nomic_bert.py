"""NomicBERT (Nussbaum et al., 2024, https://arxiv.org/abs/2402.01613), in transformers' implementation: BERT with
rotary positions, gated feed-forward layers, and no biases except in normalisation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel
from .config import EncoderConfig
from .heads import HeadLayers
from .reading import read, size, theta_of

NAMES = {
    "embeddings/word": "embeddings.word_embeddings",
    "embeddings/type": "embeddings.token_type_embeddings",
    "embeddings/layer_norm": "emb_ln",
    "layer_N/attention/qkv": "encoder.layers.N.attn.Wqkv",
    "layer_N/attention/output": "encoder.layers.N.attn.out_proj",
    "layer_N/attention/layer_norm": "encoder.layers.N.norm1",
    "layer_N/gate": "encoder.layers.N.mlp.fc11",
    "layer_N/intermediate": "encoder.layers.N.mlp.fc12",
    "layer_N/output": "encoder.layers.N.mlp.fc2",
    "layer_N/output/layer_norm": "encoder.layers.N.norm2",
    "pooler": "pooler.dense",
}
CLASSIFIER = HeadLayers("pooled", {"head/output": "classifier"})
#: Prefix of the remote code that published checkpoints name. transformers 5 implements the same model.
CODE = "nomic-ai/nomic-bert-2048--"
#: Keys of the remote code -> transformers' keys, which must have the same values.
_TWICE = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
    "n_inner": "intermediate_size",
    "layer_norm_epsilon": "layer_norm_eps",
}
#: Keys of the remote code -> the only value that transformers' implementation supports.
_ONLY = {
    "activation_function": "swiglu", "causal": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False,
    "moe_every_n_layers": 0, "parallel_block": False, "prenorm": False, "qkv_proj_bias": False,
    "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None, "scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True,
    "use_rms_norm": False,
}  # fmt: skip


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    for key, value in _ONLY.items():
        if config.get(key) not in (None, value):
            raise UnsupportedModel(f"{path}: {key} is {config[key]!r}; only {value!r} can be exported")
    for key, other in _TWICE.items():
        if config.get(key) not in (None, config.get(other)):
            raise CorruptSource(f"{path}: {key} is {config[key]!r}, but {other} is {config.get(other)!r}")
    theta = theta_of(config.get("rope_parameters"), "rope_parameters", path, 1000.0)
    if config.get("rotary_emb_base") not in (None, theta):
        raise CorruptSource(f"{path}: rotary_emb_base is {config['rotary_emb_base']!r}, but rope_theta is {theta!r}")
    width = size(config, "hidden_size", path) // size(config, "num_attention_heads", path)
    if (config.get("head_dim") or width) != width or width % 2:
        raise UnsupportedModel(f"{path}: head_dim is {config.get('head_dim')!r}; an even {width} can be exported")
    return read(
        {"hidden_act": "silu", **config},
        path,
        family="nomic_bert",
        has_position_table=False,
        rotary_theta=theta,
        is_gated=True,
        has_gate_layer=True,
        has_qkv=True,
        attention_bias=False,
        feed_forward_bias=False,
    )
