"""How each family, in each file format, spells the canonical names of :mod:`.checkpoint`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "FAMILIES",
    "GOOGLE",
    "KERAS",
    "OBJECT_BASED",
    "TF_MODELS",
    "TORCH",
    "Naming",
    "Style",
    "naming_of",
]

# Canonical name -> that of the library, "layer.N" standing for a layer, in PyTorch's form.
_BERT = {
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
_DISTILBERT = {
    "embeddings/word": "embeddings.word_embeddings",
    "embeddings/position": "embeddings.position_embeddings",
    "embeddings/type": "embeddings.token_type_embeddings",
    "embeddings/layer_norm": "embeddings.LayerNorm",
    "embeddings/project": "embeddings_project",
    "layer_N/attention/query": "transformer.layer.N.attention.q_lin",
    "layer_N/attention/key": "transformer.layer.N.attention.k_lin",
    "layer_N/attention/value": "transformer.layer.N.attention.v_lin",
    "layer_N/attention/output": "transformer.layer.N.attention.out_lin",
    "layer_N/attention/layer_norm": "transformer.layer.N.sa_layer_norm",
    "layer_N/intermediate": "transformer.layer.N.ffn.lin1",
    "layer_N/output": "transformer.layer.N.ffn.lin2",
    "layer_N/output/layer_norm": "transformer.layer.N.output_layer_norm",
    "pooler": "pooler.dense",
}
#: tf-models-official, which also wrote the encoders on TF Hub.
_TF_MODELS = {
    "embeddings/word": "word_embeddings",
    "embeddings/position": "position_embedding",
    "embeddings/type": "type_embeddings",
    "embeddings/layer_norm": "embeddings.layer_norm",
    "embeddings/project": "embedding_projection",
    "layer_N/attention/query": "transformer.layer.N.self_attention.query",
    "layer_N/attention/key": "transformer.layer.N.self_attention.key",
    "layer_N/attention/value": "transformer.layer.N.self_attention.value",
    "layer_N/attention/output": "transformer.layer.N.self_attention.attention_output",
    "layer_N/attention/layer_norm": "transformer.layer.N.self_attention_layer_norm",
    "layer_N/intermediate": "transformer.layer.N.intermediate",
    "layer_N/output": "transformer.layer.N.output",
    "layer_N/output/layer_norm": "transformer.layer.N.output_layer_norm",
    "pooler": "pooler_transform",
}

#: ``model_type`` of config.json -> names. ELECTRA has BERT's, and a projection.
FAMILIES: Mapping[str, Mapping[str, str]] = {"bert": _BERT, "distilbert": _DISTILBERT, "electra": _BERT}

_NUMBER = re.compile(r"(?<=layer_)\d+")


@dataclass(frozen=True)
class Style:
    """How a format writes names.

    Attributes:
        separator: between the parts of a name.
        layer: a layer's part, with ``{}`` for its number.
        leaves: canonical leaf (none for a table) -> what follows the name of the layer, the usual one first.
        transposed: whether dense weights are ``[out, in]``.
        split_heads: whether attention weights are ``[hidden, heads, head_dim]`` and the like.
    """

    separator: str
    layer: str
    leaves: Mapping[str, tuple[str, ...]]
    transposed: bool = False
    split_heads: bool = False


def _plain(table: tuple[str, ...], end: str = "") -> dict[str, tuple[str, ...]]:
    return {"": table, **{leaf: (f"/{leaf}{end}",) for leaf in ("kernel", "bias", "gamma", "beta")}}


TORCH = Style(
    ".",
    "layer.{}",
    {
        "": (".weight",),
        "kernel": (".weight",),
        "bias": (".bias",),
        # gamma and beta in checkpoints that were converted from TensorFlow.
        "gamma": (".weight", ".gamma"),
        "beta": (".bias", ".beta"),
    },
    transposed=True,
)
#: tf_model.h5 of transformers.
KERAS = Style("/", "layer_._{}", _plain(("/weight:0", "/embeddings:0"), ":0"))
#: Google's own bert_model.ckpt.
GOOGLE = Style("/", "layer_{}", _plain(("",)))
#: Object-based checkpoints, whose names are those of tf-models whatever the family.
OBJECT_BASED = Style("/", "layer_{}", _plain(("/embeddings",)), split_heads=True)


@dataclass(frozen=True)
class Naming:
    """A family's names in a format's style."""

    stems: Mapping[str, str]
    style: Style

    def spellings(self, name: str) -> list[str]:
        """The keys that the canonical weight ``name`` may have, without a prefix."""
        number = _NUMBER.search(name)
        pattern = _NUMBER.sub("N", name)
        stem, leaf = (pattern, "") if pattern in self.stems else pattern.rsplit("/", 1)
        before, layer, after = self.stems[stem].partition("layer.N")
        key = before.replace(".", self.style.separator)
        if layer:
            assert number is not None
            key += self.style.layer.format(number.group()) + after.replace(".", self.style.separator)
        return [key + ending for ending in self.style.leaves[leaf]]


TF_MODELS = Naming(_TF_MODELS, OBJECT_BASED)


def naming_of(family: str, style: Style) -> Naming:
    """The names of a family in a style."""
    return TF_MODELS if style is OBJECT_BASED else Naming(FAMILIES[family], style)
