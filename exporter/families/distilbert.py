"""DistilBERT (Sanh et al., 2019, https://arxiv.org/abs/1910.01108): BERT without token types, with other names of
weights and settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptSource
from . import bert
from .config import EncoderConfig
from .heads import HeadLayers
from .reading import read

NAMES = {
    **bert.NAMES,
    "layer_N/attention/query": "transformer.layer.N.attention.q_lin",
    "layer_N/attention/key": "transformer.layer.N.attention.k_lin",
    "layer_N/attention/value": "transformer.layer.N.attention.v_lin",
    "layer_N/attention/output": "transformer.layer.N.attention.out_lin",
    "layer_N/attention/layer_norm": "transformer.layer.N.sa_layer_norm",
    "layer_N/intermediate": "transformer.layer.N.ffn.lin1",
    "layer_N/output": "transformer.layer.N.ffn.lin2",
    "layer_N/output/layer_norm": "transformer.layer.N.output_layer_norm",
}
CLASSIFIER = HeadLayers("first", {"head/dense": "pre_classifier", "head/output": "classifier"}, "relu")
#: BERT's keys of config.json -> DistilBERT's.
_KEYS = {
    "hidden_size": "dim",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    # transformers also accepts BERT's names of these, and prefers them.
    for alias in ("hidden_size", "num_attention_heads", "num_hidden_layers"):
        key, value = _KEYS[alias], config.get(alias)
        if value is not None and config.get(key, value) != value:
            raise CorruptSource(f"{path}: {key} is {config[key]!r}, and {alias} is {value!r}; expected one of them")
        config = config if value is None else {**config, key: value}
    # transformers' code has a fixed epsilon.
    return read(config, path, _KEYS, family="distilbert", type_vocab_size=0, layer_norm_eps=1e-12)
