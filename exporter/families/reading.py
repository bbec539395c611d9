"""Values of a config.json, with checks. (``sources/keys.toml`` has already refused keys of other architectures.)"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel
from .config import EncoderConfig

#: Names in config.json -> those of :func:`..graph.encoder.activation`.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "tanh": "tanh",
    "silu": "silu",
}
#: Fields of :class:`EncoderConfig` -> their keys in BERT's config.json.
SIZES = {
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
        CorruptSource: it is not, or it is missing and has no default.
    """
    found = config.get(key, default)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise CorruptSource(f"{path}: {key} is {found!r}, not a positive whole number")
    return found


def positions_from_padding(config: Mapping[str, Any], path: Path, padding_idx: int) -> dict[str, Any]:
    """Fields of an :class:`EncoderConfig` for RoBERTa's positions: the first token has the row after the padding's.

    Raises:
        CorruptSource: the position table has no row for a token.
    """
    rows = size(config, "max_position_embeddings", path)
    if rows <= padding_idx + 1:
        raise CorruptSource(
            f"{path}: max_position_embeddings is {rows}, but the first token takes row {padding_idx + 1}"
        )
    return {"max_positions": rows - padding_idx - 1, "padding_idx": padding_idx}


def number(config: Mapping[str, Any], key: str, path: Path, default: float) -> float:
    """A positive number.

    Raises:
        CorruptSource: it is not.
    """
    found = config.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < float("inf"):
        raise CorruptSource(f"{path}: {key} is {found!r}, not a positive number")
    return float(found)


def flag(config: Mapping[str, Any], key: str, path: Path, default: bool = False) -> bool:
    """True or false.

    Raises:
        CorruptSource: it is neither.
    """
    found = config.get(key, default)
    if not isinstance(found, bool):
        raise CorruptSource(f"{path}: {key} is {found!r}, not true or false")
    return found


def theta_of(stated: Any, key: str, path: Path, default: float) -> float:
    """The base of the angles of rotary positions.

    Args:
        stated: ``rope_parameters`` of config.json, or its entry for a kind of layers.
        key: its name, for errors.
        path: path of config.json, for errors.
        default: the base if none is stated.

    Raises:
        UnsupportedModel: the angles are scaled, or only part of each head is rotated.
        CorruptSource: ``stated`` is not an object, or the base is not a positive number.
    """
    if not isinstance(stated, dict | None):
        raise CorruptSource(f"{path}: {key} is {stated!r:.200}, not an object")
    usual = {"rope_type": "default", "type": "default", "partial_rotary_factor": 1.0, "rope_theta": None}
    for name, value in (stated or {}).items():
        if name not in usual or (usual[name] is not None and value not in (None, usual[name])):
            raise UnsupportedModel(f"{path}: {name} of {key} is {value!r:.200}; only plain angles can be exported")
    found = (stated or {}).get("rope_theta", default)
    return number({key: found}, key, path, default)


def activation_of(config: Mapping[str, Any], key: str, path: Path) -> str:
    """The canonical name of an activation; ``gelu`` if config.json does not state it.

    Raises:
        UnsupportedModel: it is unknown.
    """
    found = config.get(key, "gelu")
    if not isinstance(found, str) or found not in _ACTIVATIONS:
        raise UnsupportedModel(f"{path}: {key} is {found!r}; only {', '.join(sorted(_ACTIVATIONS))} can be exported")
    return _ACTIVATIONS[found]


def read(config: Mapping[str, Any], path: Path, keys: Mapping[str, str] | None = None, **fixed: Any) -> EncoderConfig:
    """The encoder's configuration from a config.json.

    Args:
        config: contents of config.json.
        path: its path, for errors.
        keys: BERT's keys -> the family's, where they differ.
        fixed: fields of the result that are not read from config.json, among them ``family``.

    Raises:
        UnsupportedModel: the activation is unknown.
        CorruptSource: values are missing, or contradict each other.
    """
    keys = {key: key for key in (*SIZES.values(), "hidden_act")} | dict(keys or {})
    fields: dict[str, Any] = {field: size(config, keys[key], path) for field, key in SIZES.items()}
    hidden, heads = fields["hidden_size"], fields["num_heads"]
    if hidden % heads:
        width, parts = keys["hidden_size"], keys["num_attention_heads"]
        raise CorruptSource(f"{path}: {width} {hidden} is not a multiple of {parts} {heads}")
    fields["activation"] = activation_of(config, keys["hidden_act"], path)
    if "type_vocab_size" not in fixed:
        fields["type_vocab_size"] = size(config, "type_vocab_size", path, default=2)
    if "layer_norm_eps" not in fixed:
        fields["layer_norm_eps"] = number(config, "layer_norm_eps", path, 1e-12)
    return EncoderConfig(**{**fields, **fixed})
