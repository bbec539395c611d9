"""BERT's WordPiece tokenizer as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..spec import TokenizerSpec


@dataclass(frozen=True)
class WordPieceSpec(TokenizerSpec):
    """BERT's normalisation and WordPiece; fields are those of the Hugging Face ``BertNormalizer`` and ``WordPiece``.

    ``style`` is ``reference`` for these, or ``tf-text`` for tensorflow-text's BertTokenizer, whose only setting is
    ``lowercase``.
    """

    kind: ClassVar[str] = "wordpiece"

    unk_token: str = "[UNK]"
    continuing_subword_prefix: str = "##"
    max_input_chars_per_word: int = 100
    lowercase: bool = True
    strip_accents: bool | None = None
    handle_chinese_chars: bool = True
    clean_text: bool = True
    style: str = "reference"

    @property
    def lowercases(self) -> bool:
        """Whether texts are lower-cased."""
        return self.lowercase

    def lowercased(self) -> WordPieceSpec:
        """The same tokenizer for lower-cased texts."""
        if self.lowercase:
            return self
        return replace(self, lowercase=True, strip_accents=bool(self.strip_accents))

    @property
    def token_lengths(self) -> list[int]:
        """As in the base class: 0 for the unknown token; without a prefix for parts of words, -1 for all others."""
        spelled = dict(enumerate(self.vocab)) | {token.id: token.content for token in self.added_tokens}
        found = [spelled.get(at) or "" for at in range(self.size)]
        lengths = map(len, found) if self.continuing_subword_prefix else [-1] * len(found)
        return [0 if token == self.unk_token else length for token, length in zip(found, lengths, strict=True)]

    def as_tf_text(self) -> WordPieceSpec:
        """tensorflow-text's tokenizer with this vocabulary: without added tokens, and with word lengths in bytes."""
        return replace(self, style="tf-text", added_tokens=(), max_input_chars_per_word=100)
