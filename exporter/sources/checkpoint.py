"""The neutral description that every kind of source is turned into, and that all later steps read.

Canonical weight names (float32; ``kernel`` is always ``[in, out]``)::

    embeddings/word                          [vocabulary, embedding]
    embeddings/position                      [positions, embedding]
    embeddings/type                          [types, embedding]; none in DistilBERT
    embeddings/layer_norm/{gamma,beta}       [embedding]
    embeddings/project/{kernel,bias}         [embedding, hidden], where the two differ (ELECTRA)
    layer_N/attention/{query,key,value,output}/{kernel,bias}
    layer_N/attention/layer_norm/{gamma,beta}
    layer_N/intermediate/{kernel,bias}       [hidden, intermediate], [intermediate]
    layer_N/output/{kernel,bias}             [intermediate, hidden], [hidden]
    layer_N/output/layer_norm/{gamma,beta}
    pooler/{kernel,bias}                     where the checkpoint has a pooler
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = [
    "ACTIVATIONS",
    "AddedToken",
    "BertConfig",
    "Checkpoint",
    "Dense",
    "PoolingRecipe",
    "SourceFile",
    "TokenizerRules",
    "canonical_shapes",
    "describe_file",
]

#: Activations of the feed-forward layer, by their usual names: the exact (erf) GELU, its tanh approximation, ReLU.
ACTIVATIONS = ("gelu", "gelu_tanh", "relu")


@dataclass(frozen=True)
class AddedToken:
    """A token that is matched whole in the text.

    Attributes:
        content: what is looked for.
        id: its id.
        special: one of the model's own (``[SEP]`` and the like), not one of its users.
        single_word: only where no letter or digit stands beside it.
        lstrip: white space before it belongs to it.
        rstrip: white space behind it belongs to it.
        normalized: both are normalised before it is looked for; else the raw text is searched.
    """

    content: str
    id: int
    special: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


@dataclass(frozen=True)
class TokenizerRules:
    """BERT's WordPiece tokenizer, as the checkpoint's own files set it.

    ``vocab[i]`` is the token of id ``i`` (``None`` for an id that no word can have); field names are
    those of the Hugging Face ``BertNormalizer`` and ``WordPiece``. ``style`` is ``reference`` for what these do, or
    ``tf-text`` for tensorflow-text's BertTokenizer, of which ``lowercase`` is the only setting.
    """

    vocab: tuple[str | None, ...]
    cls_id: int
    sep_id: int
    pad_id: int
    unk_token: str = "[UNK]"
    continuing_subword_prefix: str = "##"
    max_input_chars_per_word: int = 100
    lowercase: bool = True
    strip_accents: bool | None = None
    handle_chinese_chars: bool = True
    clean_text: bool = True
    added_tokens: tuple[AddedToken, ...] = ()
    truncation_side: str = "right"
    style: str = "reference"

    @property
    def size(self) -> int:
        """Number of ids: the rows that the embedding table must have."""
        return max(len(self.vocab), *(token.id + 1 for token in self.added_tokens), 0)


@dataclass(frozen=True)
class BertConfig:
    """Shape of a BERT encoder, or of one that is a small variation of it.

    ``activation`` is ``None`` where the source does not say it. ``type_vocab_size`` is 0 where tokens have no
    type (DistilBERT). ``embedding_size`` is the width of the embedding tables; ``None`` is ``hidden_size``.
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

    @property
    def projects(self) -> bool:
        """Whether a dense layer stands between the embeddings and the first layer."""
        return self.embedding_size not in (None, self.hidden_size)


@dataclass(frozen=True)
class Dense:
    """A dense layer after pooling: ``activation(x @ kernel + bias)``, kernel ``[in, out]``."""

    kernel: np.ndarray
    bias: np.ndarray | None
    activation: str


@dataclass(frozen=True)
class PoolingRecipe:
    """How token vectors become one embedding: pooled modes side by side, then layers, then normalisation.

    ``steps`` holds :class:`Dense` layers and the string ``"normalize"``, in the order of the source.
    """

    modes: tuple[str, ...]
    steps: tuple[Dense | str, ...] = ()


@dataclass(frozen=True)
class SourceFile:
    """A file that the export was made from."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the exporter knows of a source.

    ``bert`` is ``None`` where the weights are not understood: such an encoder can only be wrapped whole.
    ``hub_path`` is the SavedModel folder of a Hub encoder.
    """

    kind: str
    location: Path
    tokenizer: TokenizerRules
    max_seq_length: int
    hidden_size: int
    bert: BertConfig | None = None
    weights: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    pooling: PoolingRecipe | None = None
    max_positions: int | None = None
    hub_path: Path | None = None
    files: tuple[SourceFile, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_pooler(self) -> bool:
        """Whether ``pooled_output`` can be answered."""
        return self.bert.has_pooler if self.bert is not None else True


def canonical_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that an encoder of this configuration has."""
    hidden, intermediate = config.hidden_size, config.intermediate_size
    embedding = config.embedding_size or hidden

    def layer_norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}/layer_norm/gamma", (width,)
        yield f"{name}/layer_norm/beta", (width,)

    def dense(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}/kernel", (inputs, outputs)
        yield f"{name}/bias", (outputs,)

    shapes: dict[str, tuple[int, ...]] = {
        "embeddings/word": (config.vocab_size, embedding),
        "embeddings/position": (config.max_positions, embedding),
    }
    if config.type_vocab_size:
        shapes["embeddings/type"] = (config.type_vocab_size, embedding)
    shapes.update(layer_norm("embeddings", embedding))
    if config.projects:
        shapes.update(dense("embeddings/project", embedding, hidden))
    for index in range(config.num_layers):
        for part in ("query", "key", "value", "output"):
            shapes.update(dense(f"layer_{index}/attention/{part}", hidden, hidden))
        shapes.update(layer_norm(f"layer_{index}/attention", hidden))
        shapes.update(dense(f"layer_{index}/intermediate", hidden, intermediate))
        shapes.update(dense(f"layer_{index}/output", intermediate, hidden))
        shapes.update(layer_norm(f"layer_{index}/output", hidden))
    if config.has_pooler:
        shapes.update(dense("pooler", hidden, hidden))
    return shapes


def describe_file(path: Path, root: Path) -> SourceFile:
    """Size and sha256 of a file, named by its path under ``root``."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return SourceFile(path.relative_to(root).as_posix(), path.stat().st_size, digest)
