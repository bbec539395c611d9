"""Values of config.json as every family reads them: the right type and range, or a refusal that names the key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel

__all__ = ["activation", "epsilon", "heads", "refuse_other_graphs", "size"]

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


def heads(config: Mapping[str, Any], key: str, width: str, path: Path) -> int:
    """The number of attention heads, among which the width must part evenly.

    Raises:
        CorruptSource: it does not.
    """
    hidden, found = size(config, width, path), size(config, key, path)
    if hidden % found:
        raise CorruptSource(f"{path}: {width} {hidden} is no multiple of {key} {found}")
    return found


def activation(config: Mapping[str, Any], key: str, path: Path) -> str:
    """The canonical name of an activation, ``gelu`` where none is given.

    Raises:
        UnsupportedModel: it is unknown.
    """
    found = config.get(key, "gelu")
    if not isinstance(found, str) or found not in _ACTIVATIONS:
        raise UnsupportedModel(f"{path}: {key} is {found!r}; known are {', '.join(sorted(_ACTIVATIONS))}")
    return _ACTIVATIONS[found]


def epsilon(config: Mapping[str, Any], path: Path, default: float = 1e-12) -> float:
    """``layer_norm_eps``.

    Raises:
        CorruptSource: it is no positive number.
    """
    found = config.get("layer_norm_eps", default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not found > 0:
        raise CorruptSource(f"{path}: layer_norm_eps is {found!r}, not a positive number")
    return float(found)


def refuse_other_graphs(config: Mapping[str, Any], path: Path) -> None:
    """Refuse settings under which the same weights are another model.

    Raises:
        UnsupportedModel: one is set.
    """
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
