"""The spelling of a family's weight names in file formats.

Each family has a table: canonical stem (see :mod:`.config`) -> stem in PyTorch's form. Both contain ``N`` in place of
the layer's number. A :class:`Style` turns PyTorch's form into that of another format. tf-models-official has its own
names for BERT, in one format: their table is :data:`TF_MODELS`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NUMBER = re.compile(r"(?<=layer_)\d+")


@dataclass(frozen=True)
class Style:
    """The spelling of weight names in a file format.

    Attributes:
        separator: separator between the parts of a name.
        number: separator between a part of a name and its number.
        leaves: canonical leaf (empty for a table) -> suffixes after the name of the layer, the most common one first.
        transposed: whether dense weights are ``[out, in]``.
        split_heads: whether attention weights have separate head dimensions, such as ``[hidden, heads, head_dim]``.
    """

    separator: str
    number: str
    leaves: Mapping[str, tuple[str, ...]]
    transposed: bool = False
    split_heads: bool = False


def _plain(*tables: str, ends: tuple[str, ...] = ("",)) -> dict[str, tuple[str, ...]]:
    leaves = {"": tables, **{leaf: (f"/{leaf}",) for leaf in ("kernel", "bias", "gamma", "beta")}}
    return {leaf: tuple(name + end for name in names for end in ends) for leaf, names in leaves.items()}


TORCH = Style(
    ".",
    ".",
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
#: transformers' TensorFlow models, in tf_model.h5 or model.safetensors.
KERAS = Style("/", "_._", _plain("/weight", "/embeddings", ends=(":0", "")))
#: Google's own bert_model.ckpt.
GOOGLE = Style("/", "_", _plain(""))
#: Object-based checkpoints of tf-models-official.
OBJECT_BASED = Style("/", "_", _plain("/embeddings"), split_heads=True)


@dataclass(frozen=True)
class Naming:
    """A family's names in a format's style."""

    stems: Mapping[str, str]
    style: Style

    def spellings(self, name: str) -> list[str]:
        """Possible keys of a canonical weight, without a prefix; empty if the family does not have that weight."""
        layer = "".join(_NUMBER.findall(name))
        pattern = _NUMBER.sub("N", name)
        stem, leaf = (pattern, "") if pattern in self.stems else pattern.rsplit("/", 1)
        if stem not in self.stems:
            return []
        key, *parts = self.stems[stem].split(".")
        for part in parts:
            number = layer if part == "N" else part
            key += (self.style.number if number.isdigit() else self.style.separator) + number
        return [key + ending for ending in self.style.leaves[leaf]]


#: Names of BERT's weights in tf-models-official, also in the encoders that it exported for TF Hub.
TF_MODELS = Naming(
    {
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
    },
    OBJECT_BASED,
)
#: The same of ALBERT, whose layers are one.
TF_MODELS_SHARED = Naming(
    {stem: name.replace("transformer.layer.N", "transformer") for stem, name in TF_MODELS.stems.items()}, OBJECT_BASED
)
