"""A byte-level BPE tokenizer as data."""

from dataclasses import dataclass
from typing import ClassVar

from ..spec import TokenizerSpec


@dataclass(frozen=True)
class BpeSpec(TokenizerSpec):
    """Byte-level BPE; the vocabulary spells each byte as one letter, see :data:`.LETTERS`.

    Attributes:
        merges: pairs of tokens, the first to be merged first.
        unk_token: token of bytes that the vocabulary does not have; ``None``: it has all of them.
        ignore_merges: whether a word that is a token is that token, whatever the merges say.
        add_prefix_space: whether a text that does not begin with a blank gets one, and so does a text after an added
            token.
        splits: whether GPT-2's pattern parts texts into words; else a text is one word.
        nfc: whether texts are put into Unicode's normal form C.
        keeps_prefix_space: whether ``trim_offsets`` leaves one blank at the start of the first token.
    """

    kind: ClassVar[str] = "bpe"

    merges: tuple[tuple[str, str], ...] = ()
    unk_token: str | None = None
    ignore_merges: bool = False
    add_prefix_space: bool = False
    splits: bool = True
    nfc: bool = False
    keeps_prefix_space: bool = False

    @property
    def token_lengths(self) -> list[int]:
        """As in the base: no prefix tells parts of words, so only that of the unknown token is known."""
        spelled = dict(enumerate(self.vocab)) | {token.id: token.content for token in self.added_tokens}
        unknown = self.unk_token
        return [0 if unknown is not None and spelled.get(at) == unknown else -1 for at in range(self.size)]
