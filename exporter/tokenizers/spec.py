"""What a tokenizer is, whatever its kind: vocabulary, added tokens, and the template around texts. No TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self


@dataclass(frozen=True)
class AddedToken:
    """A token that is matched whole in the text.

    Attributes:
        content: what is looked for.
        id: its id.
        special: one of the model's own (``[SEP]`` and the like), not one of its users.
        single_word: only where no letter or digit is beside it.
        lstrip: white space before it belongs to it.
        rstrip: white space after it belongs to it.
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
class Piece:
    """A part of a template: a special token, or one of the texts.

    Attributes:
        special: id of the special token; ``None`` for a text.
        text: which one, 0 or 1; ``None`` for a special token.
        type: the token type of its tokens.
    """

    special: int | None = None
    text: int | None = None
    type: int = 0


@dataclass(frozen=True)
class Template:
    """What is put around a text, and around two: ``[CLS] A [SEP]``, ``<s> A </s></s> B </s>``.

    Attributes:
        single: with one text, every piece of type 0.
        pair: with both texts, the first one first.
    """

    single: tuple[Piece, ...]
    pair: tuple[Piece, ...]

    def of(self, pair: bool) -> tuple[Piece, ...]:
        """The pieces for single texts, or for pairs."""
        return self.pair if pair else self.single

    def specials(self, pair: bool) -> int:
        """How many special tokens it has for single texts, or for pairs."""
        return sum(piece.special is not None for piece in self.of(pair))

    def texts(self, starts: Sequence[int]) -> list[int]:
        """Which text of a pair each token belongs to (or follows), by its offset: -1 is a special token."""
        begin = next(at for at, piece in enumerate(self.pair) if piece.text is not None)
        end = next((at for at, start in enumerate(starts) if at >= begin and start < 0), len(starts))
        return [int(at > end) for at in range(len(starts))]


def bert_template(cls_id: int, sep_id: int) -> Template:
    """BERT's: ``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``, where B and the token after it are of type 1."""
    single = (Piece(special=cls_id), Piece(text=0), Piece(special=sep_id))
    return Template(single, (*single, Piece(text=1, type=1), Piece(special=sep_id, type=1)))


@dataclass(frozen=True)
class TokenizerSpec:
    """A tokenizer as the checkpoint's own files set it; each kind is a subclass with settings of its own.

    Attributes:
        vocab: ``vocab[i]`` is the token of id ``i``; ``None`` for an id that no word can have.
        pad_id: id in padding.
        template: the special tokens around texts.
        added_tokens: tokens that are matched whole.
        truncation_side: where texts that are too long are cut, ``right`` or ``left``.
        trim_offsets: whether offsets leave out the white space that an added token takes, as RobertaProcessing does.
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
        """Number of ids: the rows that the embedding table must have."""
        return max(len(self.vocab), *(token.id + 1 for token in self.added_tokens), 0)

    @property
    def lowercases(self) -> bool:
        """Whether texts are lower-cased."""
        raise NotImplementedError

    def lowercased(self) -> Self:
        """The tokenizer of texts that something lower-cases before all."""
        raise NotImplementedError

    @property
    def token_lengths(self) -> list[int]:
        """What ``token_lengths`` of ``tag`` is for each id, see the contract."""
        raise NotImplementedError
