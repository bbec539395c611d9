"""The tokenizer of a Hub encoder with a SentencePiece model, as data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from ..spec import TokenizerSpec


@dataclass(frozen=True)
class SentencePieceSpec(TokenizerSpec):
    """A SentencePiece model, and the normalisation before it in the Hub's preprocessing models.

    Attributes:
        model: the model's file.
        unk_id: id of the unknown token.
        lowercase: whether texts are case-folded.
    """

    kind: ClassVar[str] = "sentencepiece"

    model: bytes = field(default=b"", repr=False)
    unk_id: int = 0
    lowercase: bool = True

    @property
    def lowercases(self) -> bool:
        """Whether texts are lower-cased."""
        return self.lowercase

    def lowercased(self) -> SentencePieceSpec:
        """The same tokenizer for lower-cased texts."""
        return replace(self, lowercase=True)

    @property
    def token_lengths(self) -> list[int]:
        """As in the base class: without a prefix for parts of words, all but the unknown token's length are -1."""
        return [0 if at == self.unk_id else -1 for at in range(self.size)]
