"""A byte-level BPE tokenizer as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ...errors import UnsupportedModel
from ..spec import TokenizerSpec


def _letters() -> tuple[str, ...]:
    """The letter of each byte in vocabularies: visible characters stand for themselves (Radford et al., GPT-2)."""
    seen = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in seen else next(others)) for byte in range(256))


#: ``LETTERS[b]`` is the letter of byte b.
LETTERS = _letters()


@dataclass(frozen=True)
class BpeSpec(TokenizerSpec):
    """Byte-level BPE; the vocabulary spells each byte as one letter, see :data:`.LETTERS`.

    Attributes:
        merges: pairs of tokens, in the order of merging.
        unknown_byte: token of bytes that are not in the vocabulary.
        ignore_merges: whether a word in the vocabulary is always that token, without merging.
        add_prefix_space: whether a text that does not begin with a blank gets one, also after an added
            token.
        splits: whether GPT-2's pattern splits texts into words; else a text is one word.
        nfc: whether texts are normalised to Unicode's form C.
        keeps_prefix_space: whether ``trim_offsets`` leaves one blank at the start of the first token.
    """

    kind: ClassVar[str] = "bpe"

    merges: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    unknown_byte: str | None = None
    ignore_merges: bool = False
    add_prefix_space: bool = False
    splits: bool = True
    nfc: bool = False
    keeps_prefix_space: bool = False

    @property
    def lowercases(self) -> bool:
        """No."""
        return False

    def lowercased(self) -> BpeSpec:
        """Not for this kind."""
        raise UnsupportedModel("texts are lower-cased (do_lower_case) before a BPE tokenizer; remove that setting")

    @property
    def token_lengths(self) -> list[int]:
        """As in the base class: without a prefix for parts of words, only the unknown token's length is known."""
        lengths = [-1] * self.size
        if self.unknown_byte in self.vocab:
            lengths[self.vocab.index(self.unknown_byte)] = 0
        return lengths


def out_of_order(merges: Sequence[tuple[str, str]]) -> str | None:
    """A token that a merge uses before the last merge that creates it; ``None`` if there is none."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}  # of equal pairs the last counts
    last = {one + other: rank for (one, other), rank in ranks.items()}
    late = (part for pair, rank in ranks.items() for part in pair if last.get(part, -1) >= rank)
    return next(late, None)
