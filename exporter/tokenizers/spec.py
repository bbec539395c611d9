"""The common description of all kinds of tokenizers: vocabulary, added tokens, template. No TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self


@dataclass(frozen=True)
class AddedToken:
    """A token that is matched as a whole in the text.

    Attributes:
        content: search text.
        id: token id.
        special: one of the model's own tokens (such as ``[SEP]``), not one that users added.
        single_word: matches only without adjacent letters or digits.
        lstrip: the match includes white space before it.
        rstrip: the match includes white space after it.
        normalized: search in the normalised text, for the normalised token; else in the raw text.
    """

    content: str
    id: int
    special: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


@dataclass(frozen=True)
class Piece:
    """A part of a template: a special token, or one of the texts.

    Attributes:
        special: id of the special token; ``None`` for a text.
        text: index of the text, 0 or 1; ``None`` for a special token.
        type: token type of its tokens.
    """

    special: int | None = None
    text: int | None = None
    type: int = 0


@dataclass(frozen=True)
class Template:
    """The special tokens around one text, and around two: ``[CLS] A [SEP]``, ``<s> A </s></s> B </s>``.

    Attributes:
        single: pieces for one text, all of type 0.
        pair: pieces for two texts, the first one first.
    """

    single: tuple[Piece, ...]
    pair: tuple[Piece, ...]

    def of(self, pair: bool) -> tuple[Piece, ...]:
        """The pieces for single texts, or for pairs."""
        return self.pair if pair else self.single

    def specials(self, pair: bool) -> int:
        """Number of special tokens for single texts, or for pairs."""
        return sum(piece.special is not None for piece in self.of(pair))

    def texts(self, starts: Sequence[int]) -> list[int]:
        """The text of a pair that each token belongs to (or follows), from its offset; -1 is a special token."""
        begin = next(at for at, piece in enumerate(self.pair) if piece.text is not None)
        end = next((at for at, start in enumerate(starts) if at >= begin and start < 0), len(starts))
        return [int(at > end) for at in range(len(starts))]


def bert_template(cls_id: int, sep_id: int) -> Template:
    """BERT's template: ``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``; B and the token after it have type 1."""
    single = (Piece(special=cls_id), Piece(text=0), Piece(special=sep_id))
    return Template(single, (*single, Piece(text=1, type=1), Piece(special=sep_id, type=1)))


@dataclass(frozen=True)
class TokenizerSpec:
    """A tokenizer as described by the checkpoint's files; each kind is a subclass with further settings.

    Attributes:
        vocab: ``vocab[i]`` is the token of id ``i``; ``None`` for an unused id.
        pad_id: id in padding.
        template: the special tokens around texts.
        added_tokens: tokens that are matched as a whole.
        truncation_side: side on which long texts are cut, ``right`` or ``left``.
        trim_offsets: whether offsets exclude the white space of an added token's match, as with RobertaProcessing.
    """

    kind: ClassVar[str]

    vocab: tuple[str | None, ...] = field(repr=False)
    pad_id: int
    template: Template
    added_tokens: tuple[AddedToken, ...] = ()
    truncation_side: str = "right"
    trim_offsets: bool = False

    @property
    def size(self) -> int:
        """Number of ids: the required rows of the embedding table."""
        return max(len(self.vocab), *(token.id + 1 for token in self.added_tokens), 0)

    @property
    def lowercases(self) -> bool:
        """Whether texts are lower-cased."""
        raise NotImplementedError

    def lowercased(self) -> Self:
        """The tokenizer with lower-casing before all other steps."""
        raise NotImplementedError

    @property
    def token_lengths(self) -> list[int]:
        """The output ``token_lengths`` of ``tag`` for each id, see the contract."""
        raise NotImplementedError
