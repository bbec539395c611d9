"""BERT (Devlin et al., 2018, https://arxiv.org/abs/1810.04805), as transformers, Google and tf-models store it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import EncoderConfig
from .heads import HeadLayers
from .reading import read

NAMES = {
    "embeddings/word": "embeddings.word_embeddings",
    "embeddings/position": "embeddings.position_embeddings",
    "embeddings/type": "embeddings.token_type_embeddings",
    "embeddings/layer_norm": "embeddings.LayerNorm",
    "embeddings/project": "embeddings_project",
    "layer_N/attention/query": "encoder.layer.N.attention.self.query",
    "layer_N/attention/key": "encoder.layer.N.attention.self.key",
    "layer_N/attention/value": "encoder.layer.N.attention.self.value",
    "layer_N/attention/output": "encoder.layer.N.attention.output.dense",
    "layer_N/attention/layer_norm": "encoder.layer.N.attention.output.LayerNorm",
    "layer_N/intermediate": "encoder.layer.N.intermediate.dense",
    "layer_N/output": "encoder.layer.N.output.dense",
    "layer_N/output/layer_norm": "encoder.layer.N.output.LayerNorm",
    "pooler": "pooler.dense",
}
CLASSIFIER = HeadLayers("pooled", {"head/output": "classifier"})


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    return read(config, path, family="bert")


def with_original_activation(config: Mapping[str, Any], *, tf_models: bool) -> tuple[dict[str, Any], str | None]:
    """A bert_config.json with transformers' name of the activation, and a note for the user.

    Its ``gelu`` means different things. Google's first release, whose code trained the published models, computed
    the exact GELU, and transformers reads it so; tf-models computes the tanh approximation.
    """
    if config.get("hidden_act") != "gelu":
        return dict(config), None
    which = "tanh approximation, as tf-models" if tf_models else "exact GELU, as transformers"
    note = f"bert_config.json says gelu, which was read as the {which} reads it"
    return {**config, "hidden_act": "gelu_new" if tf_models else "gelu"}, note
