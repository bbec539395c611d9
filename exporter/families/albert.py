"""ALBERT (Lan et al., 2020, https://arxiv.org/abs/1909.11942): BERT with narrow embeddings that are projected, and with
layers that share their weights, in one group or in several."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptSource
from . import bert
from .config import EncoderConfig
from .heads import HeadLayers
from .reading import read, size

#: The layer of a group; a group of several layers is refused (``sources/keys.toml``).
_LAYER = "encoder.albert_layer_groups.N.albert_layers.0"
NAMES = {
    **bert.NAMES,
    "embeddings/project": "encoder.embedding_hidden_mapping_in",
    "layer_N/attention/query": f"{_LAYER}.attention.query",
    "layer_N/attention/key": f"{_LAYER}.attention.key",
    "layer_N/attention/value": f"{_LAYER}.attention.value",
    "layer_N/attention/output": f"{_LAYER}.attention.dense",
    "layer_N/attention/layer_norm": f"{_LAYER}.attention.LayerNorm",
    "layer_N/intermediate": f"{_LAYER}.ffn",
    "layer_N/output": f"{_LAYER}.ffn_output",
    "layer_N/output/layer_norm": f"{_LAYER}.full_layer_layer_norm",
    "pooler": "pooler",
}
CLASSIFIER = HeadLayers("pooled", {"head/output": "classifier"})


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    # The defaults of transformers' AlbertConfig.
    config = {"hidden_act": "gelu_new", "embedding_size": 128, "num_hidden_groups": 1, **config}
    groups, layers = (size(config, key, path) for key in ("num_hidden_groups", "num_hidden_layers"))
    if groups > layers:
        raise CorruptSource(f"{path}: num_hidden_groups is {groups}, but num_hidden_layers is {layers}")
    # Embeddings are always projected, even if they are as wide as the layers.
    return read(config, path, family="albert", embedding_size=size(config, "embedding_size", path), layer_groups=groups)
