"""DeBERTa v2 and v3 (He et al., 2021, https://arxiv.org/abs/2006.03654 and https://arxiv.org/abs/2111.09543): attention
by content and by distance, each with its own vectors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel
from . import bert
from .config import Convolution, Disentangled, EncoderConfig
from .heads import TAGGER, HeadLayers
from .reading import activation_of, flag, number, read, size

_OWN = "encoder.layer.N.attention.self"
NAMES = {
    **{canonical: name for canonical, name in bert.NAMES.items() if canonical not in ("pooler", "embeddings/project")},
    "attention/distances": "encoder.rel_embeddings",
    "attention/distances/layer_norm": "encoder.LayerNorm",
    "layer_N/attention/query": f"{_OWN}.query_proj",
    "layer_N/attention/key": f"{_OWN}.key_proj",
    "layer_N/attention/value": f"{_OWN}.value_proj",
    "layer_N/attention/distance_query": f"{_OWN}.pos_query_proj",
    "layer_N/attention/distance_key": f"{_OWN}.pos_key_proj",
    "convolution": "encoder.conv.conv",
    "convolution/layer_norm": "encoder.conv.LayerNorm",
}
#: transformers calls the head's first layer a pooler. The encoder has none.
CLASSIFIER = HeadLayers("first", {"head/dense": "pooler.dense", "head/output": "classifier"}, "gelu")


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    if not flag(config, "relative_attention", path):
        raise UnsupportedModel(f"{path}: relative_attention is false; DeBERTa's attention by distance can be exported")
    hidden, heads = (size(config, key, path) for key in ("hidden_size", "num_attention_heads"))
    for key, usual in (("embedding_size", hidden), ("attention_head_size", hidden // heads)):
        if config.get(key, usual) != usual:
            raise UnsupportedModel(f"{path}: {key} is {config[key]!r}; only {usual} can be exported")
    types = config.get("type_vocab_size", 0)
    return read(
        config,
        path,
        family="deberta-v2",
        type_vocab_size=0 if types == 0 else size(config, "type_vocab_size", path),
        layer_norm_eps=number(config, "layer_norm_eps", path, 1e-7),
        has_pooler=False,
        has_position_table=flag(config, "position_biased_input", path, default=True),
        disentangled=_disentangled(config, path),
        convolution=_convolution(config, path),
    )


def read_head(task: str, config: Mapping[str, Any], path: Path) -> HeadLayers:
    """The layers of ``*ForSequenceClassification`` or ``*ForTokenClassification``, depending on ``task``.

    Raises:
        UnsupportedModel: the activation is unknown.
    """
    if task == "TokenClassification":
        return TAGGER
    return HeadLayers(CLASSIFIER.takes, CLASSIFIER.names, activation_of(config, "pooler_hidden_act", path))


def _disentangled(config: Mapping[str, Any], path: Path) -> Disentangled:
    stated = config.get("pos_att_type")
    kinds = stated.lower().split("|") if isinstance(stated, str) else stated
    kinds = [str(kind).strip() for kind in kinds] if isinstance(kinds, list) else []
    if not kinds or not set(kinds) <= {"c2p", "p2c"}:
        raise UnsupportedModel(f"{path}: pos_att_type is {stated!r}; c2p, p2c and both can be exported")
    norms = config.get("norm_rel_ebd", "none")
    if norms not in ("none", "layer_norm"):
        raise UnsupportedModel(f"{path}: norm_rel_ebd is {norms!r}; none and layer_norm can be exported")
    buckets, farthest = (_whole(config, key, path) for key in ("position_buckets", "max_relative_positions"))
    if farthest < 1:
        farthest = size(config, "max_position_embeddings", path)
    if buckets > 0 and not 2 <= buckets < 2 * (farthest - 1):
        raise CorruptSource(f"{path}: position_buckets is {buckets}, but distances go up to {farthest}")
    return Disentangled(
        span=buckets if buckets > 0 else farthest,
        farthest=farthest if buckets > 0 else None,
        has_keys="c2p" in kinds,
        has_queries="p2c" in kinds,
        shares_projections=flag(config, "share_att_key", path),
        is_normalised=norms == "layer_norm",
    )


def _convolution(config: Mapping[str, Any], path: Path) -> Convolution | None:
    width = config.get("conv_kernel_size", 0)
    if width == 0:
        return None
    if size(config, "conv_kernel_size", path) % 2 == 0 or config.get("conv_groups", 1) != 1:
        raise UnsupportedModel(
            f"{path}: conv_kernel_size is {width} and conv_groups {config.get('conv_groups', 1)!r}; an odd number of "
            "tokens, in one group, can be exported"
        )
    return Convolution(width, activation_of({"conv_act": "tanh", **config}, "conv_act", path))


def _whole(config: Mapping[str, Any], key: str, path: Path) -> int:
    found = config.get(key, -1)
    if not isinstance(found, int) or isinstance(found, bool):
        raise CorruptSource(f"{path}: {key} is {found!r}, not a whole number")
    return found
