"""Values of config.json as every family reads them: the right type and range, or a refusal that names the key.

Settings that make another graph of the same weights are refused before, by ``sources/keys.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel
from .config import EncoderConfig

#: Names in config.json -> :data:`.config.ACTIVATIONS`.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
#: Fields of :class:`EncoderConfig` -> what BERT's config.json calls them.
_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
}


def size(config: Mapping[str, Any], key: str, path: Path, default: int | None = None) -> int:
    """A positive whole number.

    Raises:
        CorruptSource: it is something else, or missing without a default.
    """
    found = config.get(key, default)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise CorruptSource(f"{path}: {key} is {found!r}, not a positive whole number")
    return found


def read(config: Mapping[str, Any], path: Path, keys: Mapping[str, str] | None = None, **fixed: Any) -> EncoderConfig:
    """What a config.json states.

    Args:
        config: its content.
        path: where it is, for errors.
        keys: keys of BERT -> those of the family, where they differ.
        fixed: fields that are not read; ``family`` is one of them.

    Raises:
        UnsupportedModel: the activation is unknown.
        CorruptSource: values are missing, or contradict each other.
    """
    keys = {key: key for key in (*_SIZES.values(), "hidden_act")} | dict(keys or {})
    fields: dict[str, Any] = {field: size(config, keys[key], path) for field, key in _SIZES.items()}
    hidden, heads = fields["hidden_size"], fields["num_heads"]
    if hidden % heads:
        width, parts = keys["hidden_size"], keys["num_attention_heads"]
        raise CorruptSource(f"{path}: {width} {hidden} is no multiple of {parts} {heads}")
    act = keys["hidden_act"]
    activation = config.get(act, "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise UnsupportedModel(f"{path}: {act} is {activation!r}; known are {', '.join(sorted(_ACTIVATIONS))}")
    fields["activation"] = _ACTIVATIONS[activation]
    if "type_vocab_size" not in fixed:
        fields["type_vocab_size"] = size(config, "type_vocab_size", path, default=2)
    if "layer_norm_eps" not in fixed:
        epsilon = config.get("layer_norm_eps", 1e-12)
        if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not epsilon > 0:
            raise CorruptSource(f"{path}: layer_norm_eps is {epsilon!r}, not a positive number")
        fields["layer_norm_eps"] = float(epsilon)
    return EncoderConfig(**{**fields, **fixed})
