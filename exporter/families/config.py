"""What an encoder is, whatever its family: :class:`EncoderConfig`, the names and shapes of its weights, and how values
of config.json are read. (Settings that make another graph are refused before, by ``sources/keys.toml``.)

Canonical weight names (float32; ``kernel`` is always ``[in, out]``)::

    embeddings/word                          [vocabulary, embedding]
    embeddings/position                      [positions, embedding], after rows up to padding_idx
    embeddings/type                          [types, embedding], where tokens have types
    embeddings/layer_norm/{gamma,beta}       [embedding]
    embeddings/project/{kernel,bias}         [embedding, hidden], where the tables have a width of their own
    attention/relative_bias                  [buckets, heads], where the family has one, shared by all layers
    layer_N/attention/{query,key,value,output}/{kernel,bias}      N: the layer, or the group of layers that share it
    layer_N/attention/layer_norm/{gamma,beta}
    layer_N/intermediate/{kernel,bias}       [hidden, intermediate], [intermediate]
    layer_N/output/{kernel,bias}             [intermediate, hidden], [hidden]
    layer_N/output/layer_norm/{gamma,beta}
    pooler/{kernel,bias}                     where the checkpoint has a pooler
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel

#: Activations of the feed-forward layer, by their usual names: the exact (erf) GELU, its tanh approximation, ReLU.
ACTIVATIONS = ("gelu", "gelu_tanh", "relu")
#: Names in config.json -> :data:`ACTIVATIONS`.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
#: Fields of :class:`EncoderConfig` -> what BERT's config.json calls them.
SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
}


@dataclass(frozen=True)
class RelativeBias:
    """A learned number a head, added to attention scores by the distance from query to key (Raffel et al., 2020,
    https://arxiv.org/abs/1910.10683, 2.1).

    Half of the buckets is for keys after the query. Of a half, one half is for single distances and the other for
    ranges that grow logarithmically up to ``max_distance``; larger distances share the last bucket.
    """

    buckets: int
    max_distance: int


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of a transformer encoder that normalises after each residual sum.

    Attributes:
        vocab_size: rows of the word table.
        hidden_size: width of a token's vector.
        num_layers: of attention and feed-forward.
        num_heads: of attention in a layer.
        intermediate_size: width inside the feed-forward layer.
        max_positions: most tokens of a text.
        type_vocab_size: token types; 0 where tokens have no type.
        activation: one of :data:`ACTIVATIONS`; ``None`` where the source does not say it.
        layer_norm_eps: added to the variance inside the root.
        has_pooler: whether the checkpoint has the dense layer with tanh over the first token.
        family: ``model_type`` of config.json, a key of :data:`..families.FAMILIES`.
        embedding_size: width of the embedding tables, which a dense layer projects; ``None``: they are as wide as the
            layers, and nothing is projected.
        padding_idx: as RoBERTa counts positions: tokens of this id take this row of the position table and are not
            counted, and the first other token takes the next row; ``None``: every token is counted, from row 0.
        relative_bias: of attention scores, shared by all layers; ``None`` where there is none.
        layer_groups: groups of layers that share their weights, one after the other; ``None``: each has its own.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    max_positions: int
    type_vocab_size: int
    activation: str | None = "gelu"
    layer_norm_eps: float = 1e-12
    has_pooler: bool = True
    family: str = "bert"
    embedding_size: int | None = None
    padding_idx: int | None = None
    relative_bias: RelativeBias | None = None
    layer_groups: int | None = None

    @property
    def projects(self) -> bool:
        """Whether a dense layer lies between the embeddings and the first layer."""
        return self.embedding_size is not None

    @property
    def stored_layers(self) -> int:
        """Layers that have weights of their own."""
        return self.num_layers if self.layer_groups is None else self.layer_groups

    def stored_layer(self, index: int) -> int:
        """Whose weights a layer has."""
        # As transformers computes it, in floating point: where groups are of unequal size, rounding decides.
        return index if self.layer_groups is None else int(index / (self.num_layers / self.layer_groups))

    @property
    def position_rows(self) -> int:
        """Rows of the position table."""
        return self.max_positions + (0 if self.padding_idx is None else self.padding_idx + 1)


def canonical_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that an encoder of this configuration has."""
    hidden, intermediate = config.hidden_size, config.intermediate_size
    embedding = config.embedding_size or hidden

    def layer_norm(name: str, width: int) -> None:
        shapes.update({f"{name}/layer_norm/gamma": (width,), f"{name}/layer_norm/beta": (width,)})

    def dense(name: str, inputs: int, outputs: int) -> None:
        shapes.update({f"{name}/kernel": (inputs, outputs), f"{name}/bias": (outputs,)})

    shapes: dict[str, tuple[int, ...]] = {
        "embeddings/word": (config.vocab_size, embedding),
        "embeddings/position": (config.position_rows, embedding),
    }
    if config.type_vocab_size:
        shapes["embeddings/type"] = (config.type_vocab_size, embedding)
    layer_norm("embeddings", embedding)
    if config.projects:
        dense("embeddings/project", embedding, hidden)
    if config.relative_bias is not None:
        shapes["attention/relative_bias"] = (config.relative_bias.buckets, config.num_heads)
    for index in range(config.stored_layers):
        for part in ("query", "key", "value", "output"):
            dense(f"layer_{index}/attention/{part}", hidden, hidden)
        layer_norm(f"layer_{index}/attention", hidden)
        dense(f"layer_{index}/intermediate", hidden, intermediate)
        dense(f"layer_{index}/output", intermediate, hidden)
        layer_norm(f"layer_{index}/output", hidden)
    if config.has_pooler:
        dense("pooler", hidden, hidden)
    return shapes


def size(config: Mapping[str, Any], key: str, path: Path, default: int | None = None) -> int:
    """A positive whole number.

    Raises:
        CorruptSource: it is something else, or missing without a default.
    """
    found = config.get(key, default)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise CorruptSource(f"{path}: {key} is {found!r}, not a positive whole number")
    return found


def positions_from_padding(config: Mapping[str, Any], path: Path, padding_idx: int) -> dict[str, Any]:
    """Fields of positions that are counted from the padding's row on, as RoBERTa counts them.

    Raises:
        CorruptSource: no row is left for a token.
    """
    rows = size(config, "max_position_embeddings", path)
    if rows <= padding_idx + 1:
        raise CorruptSource(
            f"{path}: max_position_embeddings is {rows}, and the first token takes row {padding_idx + 1}"
        )
    return {"max_positions": rows - padding_idx - 1, "padding_idx": padding_idx}


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
    keys = {key: key for key in (*SIZES.values(), "hidden_act")} | dict(keys or {})
    fields: dict[str, Any] = {field: size(config, keys[key], path) for field, key in SIZES.items()}
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
