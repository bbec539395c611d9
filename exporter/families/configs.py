"""config.json (transformers) and bert_config.json (Google, tf-models) -> :class:`BertConfig`, or a refusal by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel
from ..sources.checkpoint import BertConfig
from ..sources.jsonfile import read_object
from .names import FAMILIES

__all__ = ["read", "read_bert_config"]

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}

#: Keys of BERT's configuration -> those of DistilBERT's.
_DISTILBERT = {
    "hidden_size": "dim",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}


def read(path: Path) -> BertConfig:
    """Read the config.json of a family that can be rebuilt.

    Raises:
        UnsupportedModel: another family, or a setting that makes another graph of it.
        CorruptSource: it is missing or damaged, or its values contradict each other.
    """
    if not path.is_file():
        raise CorruptSource(f"{path}: missing; a Hugging Face folder has one")
    config = read_object(path)
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        architectures = config.get("architectures")
        named = ", ".join(map(str, architectures)) if isinstance(architectures, list) else "not named"
        raise UnsupportedModel(
            f"{path}: the encoder family is {family!r} (model_type; architectures: {named}); "
            f"{', '.join(FAMILIES)} can be exported"
        )
    _refuse_other_graphs(config, path)
    return _shape(config, family, path)


def read_bert_config(path: Path, *, tf_models: bool) -> tuple[BertConfig, tuple[str, ...]]:
    """Read the bert_config.json beside a TensorFlow checkpoint; the configuration, and notes for the user.

    Its ``gelu`` means different things. Google's first release, whose code trained the published models, computed
    the exact GELU, and transformers reads it so; tf-models computes the tanh approximation. A file that
    transformers wrote (it has ``model_type``) uses the words of transformers.

    Raises:
        as :func:`read`.
    """
    config = read_object(path)
    if "model_type" in config:
        return read(path), ()
    notes: tuple[str, ...] = ()
    if config.get("hidden_act") == "gelu":
        if tf_models:
            config["hidden_act"] = "gelu_new"
        which = "tanh approximation, as tf-models" if tf_models else "exact GELU, as transformers"
        notes = (f"{path.name} says gelu, which was read as the {which} reads it",)
    _refuse_other_graphs(config, path)
    return _shape(config, "bert", path), notes


def _refuse_other_graphs(config: dict[str, Any], path: Path) -> None:
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


def _shape(config: dict[str, Any], family: str, path: Path) -> BertConfig:
    keys = _DISTILBERT if family == "distilbert" else {}

    def value(key: str, default: Any = None) -> tuple[str, Any]:
        key = keys.get(key, key)
        return key, config.get(key, default)

    def size(key: str) -> int:
        key, found = value(key)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise CorruptSource(f"{path}: {key} is {found!r}, not a positive whole number")
        return found

    key, activation = value("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise UnsupportedModel(f"{path}: {key} is {activation!r}; known are {', '.join(sorted(_ACTIVATIONS))}")
    epsilon = 1e-12 if family == "distilbert" else config.get("layer_norm_eps", 1e-12)
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not epsilon > 0:
        raise CorruptSource(f"{path}: layer_norm_eps is {epsilon!r}, not a positive number")
    hidden, heads = size("hidden_size"), size("num_attention_heads")
    if hidden % heads:
        raise CorruptSource(
            f"{path}: {value('hidden_size')[0]} {hidden} is no multiple of {value('num_attention_heads')[0]} {heads}"
        )
    return BertConfig(
        vocab_size=size("vocab_size"),
        hidden_size=hidden,
        num_layers=size("num_hidden_layers"),
        num_heads=heads,
        intermediate_size=size("intermediate_size"),
        max_positions=size("max_position_embeddings"),
        type_vocab_size=0 if family == "distilbert" else size("type_vocab_size"),
        activation=_ACTIVATIONS[activation],
        layer_norm_eps=float(epsilon),
        family=family,
        embedding_size=size("embedding_size") if family == "electra" else None,
    )
