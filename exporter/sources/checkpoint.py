"""The neutral description that every kind of source is turned into, and that all later steps read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..families.config import EncoderConfig

__all__ = [
    "AddedToken",
    "Checkpoint",
    "Dense",
    "PoolingRecipe",
    "SourceFile",
    "TokenizerRules",
    "describe_file",
]


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

    ``encoder`` is ``None`` where the weights are not understood: such an encoder can only be wrapped whole.
    ``hub_path`` is the SavedModel folder of a Hub encoder.
    """

    kind: str
    location: Path
    tokenizer: TokenizerRules
    max_seq_length: int
    hidden_size: int
    encoder: EncoderConfig | None = None
    weights: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    pooling: PoolingRecipe | None = None
    max_positions: int | None = None
    hub_path: Path | None = None
    files: tuple[SourceFile, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_pooler(self) -> bool:
        """Whether ``pooled_output`` can be answered."""
        return self.encoder.has_pooler if self.encoder is not None else True


def describe_file(path: Path, root: Path) -> SourceFile:
    """Size and sha256 of a file, named by its path under ``root``."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return SourceFile(path.relative_to(root).as_posix(), path.stat().st_size, digest)
