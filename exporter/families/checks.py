"""Values of config.json as every family reads them: the right type and range, or a refusal that names the key."""

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
        UnsupportedModel: a setting makes another graph of it, or the activation is unknown.
        CorruptSource: values are missing, or contradict each other.
    """
    keys = keys or {}
    _refuse_other_graphs(config, path)
    width, heads, act = (keys.get(key, key) for key in ("hidden_size", "num_attention_heads", "hidden_act"))
    hidden, parts = size(config, width, path), size(config, heads, path)
    if hidden % parts:
        raise CorruptSource(f"{path}: {width} {hidden} is no multiple of {heads} {parts}")
    activation = config.get(act, "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise UnsupportedModel(f"{path}: {act} is {activation!r}; known are {', '.join(sorted(_ACTIVATIONS))}")
    fields: dict[str, Any] = {
        "vocab_size": size(config, "vocab_size", path),
        "hidden_size": hidden,
        "num_layers": size(config, keys.get("num_hidden_layers", "num_hidden_layers"), path),
        "num_heads": parts,
        "intermediate_size": size(config, keys.get("intermediate_size", "intermediate_size"), path),
        "max_positions": size(config, "max_position_embeddings", path),
        "activation": _ACTIVATIONS[activation],
    }
    if "type_vocab_size" not in fixed:
        fields["type_vocab_size"] = size(config, "type_vocab_size", path, default=2)
    if "layer_norm_eps" not in fixed:
        epsilon = config.get("layer_norm_eps", 1e-12)
        if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not epsilon > 0:
            raise CorruptSource(f"{path}: layer_norm_eps is {epsilon!r}, not a positive number")
        fields["layer_norm_eps"] = float(epsilon)
    return EncoderConfig(**{**fields, **fixed})


def _refuse_other_graphs(config: Mapping[str, Any], path: Path) -> None:
    """Refuse settings under which the same weights are another model."""
    positions = config.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise UnsupportedModel(f"{path}: position_embedding_type is {positions!r}; only 'absolute' can be exported")
    for key in ("is_decoder", "is_encoder_decoder", "add_cross_attention"):
        if config.get(key):
            raise UnsupportedModel(f"{path}: {key} is set; only encoders can be exported")
    for key, what in (
        ("quantization_config", "quantized weights"),
        ("pruned_heads", "layers of different widths"),
        ("auto_map", "code of its own, which is not run"),
    ):
        if config.get(key):
            raise UnsupportedModel(
                f"{path}: {key} is {config[key]!r}: the model has {what}; expected a plain encoder without {key}"
            )
