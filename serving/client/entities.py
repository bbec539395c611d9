"""Entities from tags, by the rules of transformers' ``TokenClassificationPipeline`` (pipelines/token_classification.py,
release 5.23): ``gather_pre_entities``, ``aggregate`` with its helpers, ``aggregate_overlapping_entities``.

Tags are plain names (``NOUN``), or names with ``B-`` or ``I-`` (BIO): an entity begins at ``B-``, or where the name
changes. transformers ignores the prefixes of other schemes and turns each such tag into an entity. Here, if every tag
of a model except ``O`` has one of the prefixes B, I, M, E, L, S, U (BIOES, BILOU, BMES), an entity also begins at
``S-`` and ``U-``, and after ``E-``, ``L-``, ``S-`` and ``U-``.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, get_args

import numpy as np

from ..errors import DecodeError
from ..wire.codec import Array
from .results import Entity, Tokens

Aggregation = Literal["none", "simple", "first", "average", "max"]
AGGREGATIONS: Final[tuple[str, ...]] = get_args(Aggregation)

#: Prefixes of schemes that also mark the end of an entity; those of its first token; those of its last token.
_PREFIXES, _FIRST, _LAST = frozenset("BIMELSU"), frozenset("BSU"), frozenset("ELSU")


@dataclass(frozen=True, eq=False)
class TokenTags(Tokens):
    """The answer of ``tag`` for one text, without padding; the contract declares its outputs."""

    tag_scores: Array = field(kw_only=True)
    tag: Array = field(kw_only=True)
    tags: Array = field(kw_only=True)
    token_lengths: Array = field(kw_only=True)


class _Piece(NamedTuple):
    """A token or a word: its score for each tag, its position, and whether it continues the word before it."""

    scores: Array
    start: int
    end: int
    continues: bool = False


class _Tagged(NamedTuple):
    """A token or a word with its best tag."""

    tag: str
    score: np.float32
    start: int
    end: int


def entities(
    text: str | bytes, tokens: TokenTags, aggregation: Aggregation, ignored: Collection[str], at: int = 0
) -> list[Entity]:
    """The entities in the tags of the tokens.

    Args:
        text: the text, as the user gave it.
        tokens: the answer for a part of the text's UTF-8 bytes.
        aggregation: rule for tokens to words and tags to entities.
        ignored: labels to leave out.
        at: byte at which that part begins.
    """
    names = [name.decode("utf-8", "replace") for name in tokens.tags]
    pieces = _pieces(text, tokens, at)
    if aggregation not in ("none", "simple"):
        pieces = [_word(group, aggregation) for group in _words(pieces)]
    tagged = [_Tagged(names[best := int(each.scores.argmax())], each.scores[best], *each[1:3]) for each in pieces]
    if aggregation == "none":
        found = [(each.tag, each.score, each.start, each.end) for each in tagged]
    else:
        found = [
            (group[0].tag.split("-", 1)[-1], np.mean([each.score for each in group]), group[0].start, group[-1].end)
            for group in _groups(tagged, names)
        ]
    return [
        Entity(label, _words_of(text[start:end]), start, end, float(score))
        for label, score, start, end in found
        if label not in ignored
    ]


def merged(found: Iterable[Entity]) -> list[Entity]:
    """Entities of overlapping windows: of two that share characters, the longer one; of equal ones, the better one."""
    kept: list[Entity] = []
    for entity in sorted(found, key=lambda entity: entity.start):
        if not kept or entity.start >= kept[-1].end:
            kept.append(entity)
        elif (entity.end - entity.start, entity.score) > (kept[-1].end - kept[-1].start, kept[-1].score):
            kept[-1] = entity
    return kept


def _words_of(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _pieces(text: str | bytes, tokens: TokenTags, at: int) -> list[_Piece]:
    """The tokens of the text, without special tokens, with their positions in the given text."""
    own = tokens.start_offsets >= 0
    starts, limits = tokens.start_offsets[own] + at, tokens.limit_offsets[own] + at
    encoded = text if isinstance(text, bytes) else text.encode()
    if not ((starts <= limits) & (limits <= len(encoded))).all():
        raise DecodeError(f"the answer has token offsets beyond the end of a text of {len(encoded)} bytes")
    if isinstance(text, str) and len(encoded) > len(text):
        # Number of characters that begin before each byte. A token within a character takes the whole character.
        begin = (np.frombuffer(encoded, np.uint8) & 0xC0) != 0x80
        before = np.concatenate([[0], np.cumsum(begin)])
        starts, limits = before[np.minimum(starts + 1, len(encoded))] - 1, before[limits]
    made = []
    rows = zip(tokens.tag_scores[own], starts.tolist(), limits.tolist(), tokens.token_lengths[own], strict=True)
    for scores, start, end, length in rows:
        made.append(_Piece(scores, start, end, _continues(text, start, end, int(length))))
    return made


def _continues(text: str | bytes, start: int, end: int, length: int) -> bool:
    """Whether transformers takes a token for a part of the word before it.

    With prefixes (``##``) in the vocabulary: a token whose spelling there has another length than in the text; this
    includes a letter with a combining mark, which the tokenizer removes. Without: a token that follows no space.
    """
    if length == 0:  # the unknown token
        return False
    if length > 0:
        return length != len(_words_of(text[start:end]))
    space = " " if isinstance(text, str) else b" "
    return start > 0 and space not in text[start - 1 : start + 1]  # type: ignore[operator]


def _words(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    words: list[list[_Piece]] = []
    for piece in pieces:
        if words and piece.continues:
            words[-1].append(piece)
        else:
            words.append([piece])
    return words


def _word(pieces: Sequence[_Piece], aggregation: Aggregation) -> _Piece:
    """A word, with the scores of its first token, of its most certain token, or the mean of all."""
    if aggregation == "first":
        scores = pieces[0].scores
    elif aggregation == "max":
        scores = max((each.scores for each in pieces), key=lambda scores: scores.max())
    else:
        scores = np.mean([each.scores for each in pieces], axis=0)
    return _Piece(scores, pieces[0].start, pieces[-1].end)


def _groups(tagged: Sequence[_Tagged], names: Sequence[str]) -> list[list[_Tagged]]:
    """Runs of tokens of one entity each; see the module."""
    prefixes = {name.partition("-")[0] if "-" in name else name for name in names} - {"O"}
    ends = prefixes <= _PREFIXES and not prefixes.isdisjoint(_LAST)
    groups: list[list[_Tagged]] = []
    before = ("", "")
    for each in tagged:
        prefix, dash, name = each.tag.partition("-")
        if not dash or prefix not in (_PREFIXES if ends else ("B", "I")):
            prefix, name = "I", each.tag
        begins = prefix in _FIRST if ends else prefix == "B"
        if groups and name == before[1] and not begins and not (ends and before[0] in _LAST):
            groups[-1].append(each)
        else:
            groups.append([each])
        before = (prefix, name)
    return groups
