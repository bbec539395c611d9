"""MPNet (Song et al., 2020, https://arxiv.org/abs/2004.09297): BERT without token types, with RoBERTa's positions and
T5's relative bias of attention, which all layers share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel
from . import bert
from .config import EncoderConfig, RelativeBias, read, size
from .heads import HeadLayers

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
#: Fixed in its code, whatever config.json says.
_PADDING, _BUCKETS, _FARTHEST = 1, 32, 128


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    for key, fixed in (("relative_attention_num_buckets", _BUCKETS), ("pad_token_id", _PADDING)):
        if (found := config.get(key, fixed)) != fixed:
            raise UnsupportedModel(f"{path}: {key} is {found!r}; MPNet's code takes it to be {fixed}")
    rows = size(config, "max_position_embeddings", path)
    if rows <= _PADDING + 1:
        raise CorruptSource(f"{path}: max_position_embeddings is {rows}, and the first token takes row {_PADDING + 1}")
    return read(
        config,
        path,
        family="mpnet",
        max_positions=rows - _PADDING - 1,
        type_vocab_size=0,
        padding_idx=_PADDING,
        relative_bias=RelativeBias(_BUCKETS, _FARTHEST),
    )
