"""ModernBERT (Warner et al., 2024, https://arxiv.org/abs/2412.13663): rotary positions, gated feed-forward layers,
normalisation before each part of a layer, and attention to whole texts in some layers only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel
from .config import EncoderConfig, Local
from .heads import HeadLayers
from .reading import activation_of, flag, number, read, size, theta_of

NAMES = {
    "embeddings/word": "embeddings.tok_embeddings",
    "embeddings/layer_norm": "embeddings.norm",
    "layer_N/attention/layer_norm": "layers.N.attn_norm",
    "layer_N/attention/qkv": "layers.N.attn.Wqkv",
    "layer_N/attention/output": "layers.N.attn.Wo",
    "layer_N/output/layer_norm": "layers.N.mlp_norm",
    "layer_N/intermediate": "layers.N.mlp.Wi",
    "layer_N/output": "layers.N.mlp.Wo",
    "final/layer_norm": "final_norm",
}
CLASSIFIER = HeadLayers(
    "first", {"head/dense": "head.dense", "head/layer_norm": "head.norm", "head/output": "classifier"}, "gelu"
)
_FULL, _SLIDING = "full_attention", "sliding_attention"
#: Kind of a layer -> key of the first releases, and its default.
_THETAS = {_FULL: ("global_rope_theta", 160_000.0), _SLIDING: ("local_rope_theta", 10_000.0)}


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    thetas = {kind: _theta(config, kind, path) for kind in _THETAS}
    window = size(config, "local_attention", path, default=128) // 2
    local = tuple(index for index, kind in enumerate(_kinds(config, path)) if kind == _SLIDING)
    read_as = read(
        config,
        path,
        {"hidden_act": "hidden_activation"},
        family="modernbert",
        type_vocab_size=0,
        layer_norm_eps=number(config, "norm_eps", path, 1e-5),
        has_position_table=False,
        rotary_theta=thetas[_FULL],
        local=Local(local, window, thetas[_SLIDING]) if local else None,
        is_gated=True,
        normalises_first=True,
        has_qkv=True,
        attention_bias=flag(config, "attention_bias", path),
        feed_forward_bias=flag(config, "mlp_bias", path),
        norm_bias=flag(config, "norm_bias", path),
    )
    if read_as.head_size % 2:
        raise CorruptSource(
            f"{path}: the size of an attention head is {read_as.head_size}, but rotary positions need an even size"
        )
    return read_as


def read_head(task: str, config: Mapping[str, Any], path: Path) -> HeadLayers:
    """The layers of ``*ForSequenceClassification`` or ``*ForTokenClassification``, depending on ``task``.

    Raises:
        UnsupportedModel: the pooling or the activation is unknown.
        CorruptSource: a value has the wrong type.
    """
    pooling = config.get("classifier_pooling", "cls")
    if pooling not in ("cls", "mean"):
        raise UnsupportedModel(f"{path}: classifier_pooling is {pooling!r}; cls and mean can be exported")
    takes = "tokens" if task == "TokenClassification" else {"cls": "first", "mean": "mean"}[pooling]
    biases = {"head/dense": "classifier_bias", "head/layer_norm": "norm_bias"}
    return HeadLayers(
        takes,
        CLASSIFIER.names,
        activation_of(config, "classifier_activation", path),
        number(config, "norm_eps", path, 1e-5),
        tuple(stem for stem, key in biases.items() if not flag(config, key, path)),
    )


def _kinds(config: Mapping[str, Any], path: Path) -> list[str]:
    """The kind of each layer in config.json. Without a list, every n-th layer from the first on attends to whole
    texts."""
    layers = size(config, "num_hidden_layers", path)
    kinds = config.get("layer_types")
    if kinds is None:
        every = size(config, "global_attn_every_n_layers", path, default=3)
        return [_SLIDING if index % every else _FULL for index in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers or not set(kinds) <= set(_THETAS):
        raise CorruptSource(f"{path}: layer_types is {kinds!r:.200}, not {layers} times {' or '.join(_THETAS)}")
    return kinds


def _theta(config: Mapping[str, Any], kind: str, path: Path) -> float:
    """The base of the angles in layers of a kind, from the keys of transformers 5 or of earlier releases."""
    key, default = _THETAS[kind]
    stated = config.get("rope_parameters") or {}
    if not isinstance(stated, dict) or not set(stated) <= set(_THETAS):
        raise UnsupportedModel(f"{path}: rope_parameters is {stated!r:.200}; expected {' and '.join(_THETAS)}")
    return theta_of(stated.get(kind), f"rope_parameters.{kind}", path, number(config, key, path, default))
