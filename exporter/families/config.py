"""The common configuration of all encoders, :class:`EncoderConfig`, and the names and shapes of their weights.

Canonical weight names (float32; ``kernel`` is always ``[in, out]``)::

    embeddings/word                          [vocabulary, embedding]
    embeddings/position                      [positions, embedding]; with padding_idx, rows 0 to padding_idx come first
    embeddings/type                          [types, embedding], where tokens have types
    embeddings/layer_norm/{gamma,beta}       [embedding]
    embeddings/project/{kernel,bias}         [embedding, hidden], where the tables are narrower than the layers
    attention/relative_bias                  [buckets, heads], where the family has one, shared by all layers
    attention/distances                      [2 * span, hidden], where attention is disentangled
    attention/distances/layer_norm/{gamma,beta}                      where they are normalised
    layer_N/attention/distance_{query,key}/{kernel,bias}             where distances do not use those of query and key
    layer_N/attention/{query,key,value,output}/{kernel,bias}      N: number of the layer, or of its group of layers
    layer_N/attention/qkv/{kernel,bias}      [hidden, 3 * hidden], [3 * hidden], in place of query, key and value
    layer_N/attention/layer_norm/{gamma,beta}
    layer_N/intermediate/{kernel,bias}       [hidden, inner], [inner]: inner is intermediate, or twice that if gated
    layer_N/gate/{kernel,bias}               [hidden, intermediate], [intermediate], where it is a separate layer
    layer_N/output/{kernel,bias}             [intermediate, hidden], [hidden]
    layer_N/output/layer_norm/{gamma,beta}   of the feed-forward layer's output, or its input if normalised before
    final/layer_norm/{gamma,beta}            where layers normalise before
    convolution/{kernel,bias}                [width, hidden, hidden], [hidden], if there is one
    convolution/layer_norm/{gamma,beta}
    pooler/{kernel,bias}                     where the checkpoint has a pooler
"""

from dataclasses import dataclass

#: Activations of the feed-forward layer, by their usual names: the exact (erf) GELU, its tanh approximation, ReLU.
ACTIVATIONS = ("gelu", "gelu_tanh", "relu")


@dataclass(frozen=True)
class RelativeBias:
    """A learned number per head, added to attention scores by the distance from query to key (Raffel et al., 2020,
    https://arxiv.org/abs/1910.10683, 2.1).

    Half of the buckets are for keys after the query. In each half, one half is for single distances, the other for
    ranges that grow logarithmically up to ``max_distance``; larger distances share the last bucket.
    """

    buckets: int
    max_distance: int


@dataclass(frozen=True)
class Local:
    """Layers whose tokens attend only to near tokens.

    Attributes:
        layers: numbers of the layers, from 0.
        window: distance of the farthest token in attention, on either side.
        theta: base of rotary positions in these layers.
    """

    layers: tuple[int, ...]
    window: int
    theta: float


@dataclass(frozen=True)
class Disentangled:
    """Attention by content and by distance (He et al., 2021, https://arxiv.org/abs/2006.03654, 3.1).

    Each distance from key to query has a vector, which every layer projects to a key and a query. A score is the sum of
    three products, divided by ``sqrt(D * terms)``: query and key, query and the distance's key, the distance's query
    and key.

    Attributes:
        span: number of distances with a vector on either side; larger distances use the last vector.
        farthest: for distances that share vectors beyond half of the span, in logarithmic ranges: the distance of the
            last vector; ``None``: each distance has its own vector.
        has_keys: whether distances have keys.
        has_queries: whether distances have queries.
        shares_projections: whether distances use the projections of tokens.
        is_normalised: whether the vectors are normalised before all layers.
    """

    span: int
    farthest: int | None
    has_keys: bool
    has_queries: bool
    shares_projections: bool
    is_normalised: bool

    @property
    def terms(self) -> int:
        """Number of products in a score."""
        return 1 + self.has_keys + self.has_queries


@dataclass(frozen=True)
class Convolution:
    """A convolution over the embeddings; its activation is added to the first layer's output, and the sum is
    normalised.

    Attributes:
        width: number of tokens, odd; zeros outside of the text.
        activation: activation of its output.
    """

    width: int
    activation: str


@dataclass(frozen=True)
class EncoderConfig:
    """Configuration of a transformer encoder.

    Attributes:
        vocab_size: rows of the word table.
        hidden_size: width of a token's vector.
        num_layers: number of layers.
        num_heads: number of attention heads in a layer.
        intermediate_size: width inside the feed-forward layer.
        max_positions: maximum tokens of a text.
        type_vocab_size: number of token types; 0 without types.
        activation: one of :data:`ACTIVATIONS`; ``None`` if the source does not state it.
        layer_norm_eps: epsilon, added to the variance inside the root.
        has_pooler: whether the checkpoint has the dense layer with tanh over the first token.
        family: ``model_type`` of config.json, a key of :data:`..families.FAMILIES`.
        embedding_size: width of the embedding tables, if a dense layer projects them; ``None``: they are as wide as the
            layers, and there is no projection.
        padding_idx: for RoBERTa's positions: tokens with this id get this row of the position table and are not
            counted, and the first other token gets the next row; ``None``: every token is counted, from row 0.
        relative_bias: bias of attention scores, shared by all layers; ``None`` without one.
        layer_groups: number of groups of consecutive layers with shared weights; ``None``: each layer has its own.
        has_position_table: whether tokens get a vector by their position.
        rotary_theta: base of rotary positions (Su et al., 2021, https://arxiv.org/abs/2104.09864): numbers i and
            i + D / 2 of a head's D are rotated by ``position * rotary_theta ** (-2 * i / D)``; ``None`` without rotary
            positions.
        local: layers with a window, with their own theta; ``None`` if all layers attend to whole texts.
        is_gated: whether half of the first feed-forward layer's output multiplies the activation of the other half
            (Shazeer, 2020, https://arxiv.org/abs/2002.05202).
        normalises_first: whether the inputs of attention and feed-forward layers are normalised, and the last residual
            sum; the first attention layer gets the embeddings, which are normalised already. Otherwise each residual
            sum is normalised.
        disentangled: attention by content and by distance; ``None``: only by content.
        convolution: convolution in parallel to the first layer; ``None`` without one.
        has_qkv: whether the checkpoint has one dense layer for query, key and value.
        has_gate_layer: whether it has a separate dense layer for the gate.
        attention_bias, feed_forward_bias, norm_bias: whether the layers have a bias.
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
    has_position_table: bool = True
    rotary_theta: float | None = None
    local: Local | None = None
    is_gated: bool = False
    normalises_first: bool = False
    disentangled: Disentangled | None = None
    convolution: Convolution | None = None
    has_qkv: bool = False
    has_gate_layer: bool = False
    attention_bias: bool = True
    feed_forward_bias: bool = True
    norm_bias: bool = True

    @property
    def head_size(self) -> int:
        """Size of an attention head, D."""
        return self.hidden_size // self.num_heads

    @property
    def thetas(self) -> tuple[float, ...]:
        """The different bases of rotary positions."""
        found = (self.rotary_theta, self.local.theta if self.local else None)
        return tuple(dict.fromkeys(theta for theta in found if theta is not None))

    @property
    def projects(self) -> bool:
        """Whether there is a dense layer between the embeddings and the first layer."""
        return self.embedding_size is not None

    @property
    def stored_layers(self) -> int:
        """Number of layers with their own weights."""
        return self.num_layers if self.layer_groups is None else self.layer_groups

    def stored_layer(self, index: int) -> int:
        """The stored layer with the weights of a layer."""
        # In floating point, as in transformers: for groups of unequal size, rounding decides.
        return index if self.layer_groups is None else int(index / (self.num_layers / self.layer_groups))

    @property
    def position_rows(self) -> int:
        """Rows of the position table."""
        return self.max_positions + (0 if self.padding_idx is None else self.padding_idx + 1)


def canonical_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of an encoder with this configuration."""
    hidden, intermediate = config.hidden_size, config.intermediate_size
    embedding = config.embedding_size or hidden

    def layer_norm(name: str, width: int = hidden) -> None:
        shapes[f"{name}/layer_norm/gamma"] = (width,)
        if config.norm_bias:
            shapes[f"{name}/layer_norm/beta"] = (width,)

    def dense(name: str, inputs: int, outputs: int, bias: bool = True) -> None:
        shapes[f"{name}/kernel"] = (inputs, outputs)
        if bias:
            shapes[f"{name}/bias"] = (outputs,)

    shapes: dict[str, tuple[int, ...]] = {"embeddings/word": (config.vocab_size, embedding)}
    if config.has_position_table:
        shapes["embeddings/position"] = (config.position_rows, embedding)
    if config.type_vocab_size:
        shapes["embeddings/type"] = (config.type_vocab_size, embedding)
    layer_norm("embeddings", embedding)
    if config.projects:
        dense("embeddings/project", embedding, hidden)
    if config.relative_bias is not None:
        shapes["attention/relative_bias"] = (config.relative_bias.buckets, config.num_heads)
    if (distances := config.disentangled) is not None:
        shapes["attention/distances"] = (2 * distances.span, hidden)
        if distances.is_normalised:
            layer_norm("attention/distances")
    for index in range(config.stored_layers):
        layer = f"layer_{index}"
        if config.has_qkv:
            dense(f"{layer}/attention/qkv", hidden, 3 * hidden, config.attention_bias)
        else:
            for part in ("query", "key", "value"):
                dense(f"{layer}/attention/{part}", hidden, hidden, config.attention_bias)
        if distances is not None and not distances.shares_projections:
            for part, is_there in (("distance_key", distances.has_keys), ("distance_query", distances.has_queries)):
                if is_there:
                    dense(f"{layer}/attention/{part}", hidden, hidden)
        dense(f"{layer}/attention/output", hidden, hidden, config.attention_bias)
        if index or not config.normalises_first:
            layer_norm(f"{layer}/attention")
        inner = 2 * intermediate if config.is_gated and not config.has_gate_layer else intermediate
        dense(f"{layer}/intermediate", hidden, inner, config.feed_forward_bias)
        if config.has_gate_layer:
            dense(f"{layer}/gate", hidden, intermediate, config.feed_forward_bias)
        dense(f"{layer}/output", intermediate, hidden, config.feed_forward_bias)
        layer_norm(f"{layer}/output")
    if config.normalises_first:
        layer_norm("final")
    if config.convolution is not None:
        shapes["convolution/kernel"] = (config.convolution.width, hidden, hidden)
        shapes["convolution/bias"] = (hidden,)
        layer_norm("convolution")
    if config.has_pooler:
        dense("pooler", hidden, hidden)
    return shapes
