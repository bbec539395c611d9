"""A Unigram tokenizer as data."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ..spec import TokenizerSpec


@dataclass(frozen=True)
class Step:
    """A step of a normaliser or pre-tokeniser.

    Attributes:
        type: its name in tokenizer.json.
        state: its JSON, as the tokenizers library writes it.
    """

    type: str
    state: str = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        """A setting."""
        return json.loads(self.state)[name]


@dataclass(frozen=True)
class UnigramSpec(TokenizerSpec):
    """Normaliser, pre-tokeniser and Unigram model of a tokenizer.json.

    Attributes:
        scores: log probability of each id of the vocabulary.
        unk_id: id of the unknown token.
        byte_fallback: whether characters without a piece become one token per byte.
        normalizer: steps of the normaliser.
        pre_tokenizer: steps of the pre-tokeniser.
    """

    kind: ClassVar[str] = "unigram"

    scores: tuple[float, ...] = field(default=(), repr=False)
    unk_id: int = 0
    byte_fallback: bool = False
    normalizer: tuple[Step, ...] = ()
    pre_tokenizer: tuple[Step, ...] = ()

    @property
    def lowercases(self) -> bool:
        """Whether texts are lower-cased."""
        return any(step.type == "Lowercase" for step in self.normalizer)

    def lowercased(self) -> UnigramSpec:
        """The same tokenizer for lower-cased texts."""
        lower = Step("Lowercase", '{"type":"Lowercase"}')
        return self if self.lowercases else replace(self, normalizer=(lower, *self.normalizer))

    @property
    def token_lengths(self) -> list[int]:
        """As in the base class: without a prefix for parts of words, all but the unknown token's length are -1."""
        return [0 if at == self.unk_id else -1 for at in range(self.size)]
