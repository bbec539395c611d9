"""MPNet (Song et al., 2020, https://arxiv.org/abs/2004.09297): BERT without token types, with RoBERTa's positions and
T5's relative bias of attention, which all layers share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UnsupportedModel
from . import bert
from .config import EncoderConfig, RelativeBias
from .heads import HeadLayers
from .reading import positions_from_padding, read

NAMES = {
    **bert.NAMES,
    "attention/relative_bias": "encoder.relative_attention_bias",
    "layer_N/attention/query": "encoder.layer.N.attention.attn.q",
    "layer_N/attention/key": "encoder.layer.N.attention.attn.k",
    "layer_N/attention/value": "encoder.layer.N.attention.attn.v",
    "layer_N/attention/output": "encoder.layer.N.attention.attn.o",
    "layer_N/attention/layer_norm": "encoder.layer.N.attention.LayerNorm",
}
CLASSIFIER = HeadLayers("first", {"head/dense": "classifier.dense", "head/output": "classifier.out_proj"}, "tanh")
#: Fixed in transformers' code, which ignores these values of config.json.
_PADDING, _BUCKETS, _FARTHEST = 1, 32, 128


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    for key, fixed in (("relative_attention_num_buckets", _BUCKETS), ("pad_token_id", _PADDING)):
        if (found := config.get(key, fixed)) != fixed:
            raise UnsupportedModel(
                f"{path}: {key} is {found!r}; only {fixed}, the value in MPNet's code, can be exported"
            )
    return read(
        config,
        path,
        family="mpnet",
        type_vocab_size=0,
        relative_bias=RelativeBias(_BUCKETS, _FARTHEST),
        **positions_from_padding(config, path, _PADDING),
    )
