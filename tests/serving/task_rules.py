"""Simple rules for ``classify``, ``tag``, ``score`` and ``tokenize``, which can be checked by hand; no model.

Tokens are words and punctuation. A word of more than 4 letters is split into pieces of 4, with ``##`` from the second
piece on. A text of more than ``MOST`` tokens, special tokens included, is cut.
"""

from __future__ import annotations

import re
import zlib
from typing import Any, NamedTuple

import numpy as np

MOST = 16
LABELS = ("good", "bad", "neither")
TAGS = ("O", "B-NAME", "I-NAME")


class Piece(NamedTuple):
    """A token: its word, its first byte, the byte after its last, and the length of its spelling."""

    word: str
    start: int
    limit: int
    length: int


def pieces(text: bytes) -> list[Piece]:
    decoded = text.decode()
    found = []
    for word in re.finditer(r"\w+|[^\w\s]", decoded):
        for at in range(word.start(), word.end(), 4):
            end = min(at + 4, word.end())
            start, limit = (len(decoded[:char].encode()) for char in (at, end))
            found.append(Piece(word[0], start, limit, end - at + (2 if at > word.start() else 0)))
    return found


def label_scores(text: bytes) -> list[float]:
    """Scores of good, bad and neither: counts of the words good and bad before the cut, and 1, divided by their sum."""
    words = [piece.word for piece in pieces(text)[: MOST - 2]]
    counts = np.array([words.count("good"), words.count("bad"), 1], np.float32)
    return list(counts / counts.sum())


def tag_of(text: bytes) -> list[str]:
    """A capitalised word begins a name, or continues the name before it."""
    tags = ["O"]
    before = None
    for piece in pieces(text)[: MOST - 2]:
        inside = before is not None and (piece.word is before or tags[-1] != "O")
        tags.append(("I-NAME" if inside else "B-NAME") if piece.word[0].isupper() else "O")
        before = piece.word
    return [*tags, "O"]


def pair_score(query: bytes, document: bytes) -> float:
    """The number of the query's words in the document, plus ``1 / (1 + number of other words in the document)``."""
    asked, found = ({piece.word for piece in pieces(text)} for text in (query, document))
    return len(asked & found) + 1 / (1 + len(found - asked))


def tokens(texts: list[bytes]) -> dict[str, Any]:
    rows = [pieces(text) for text in texts]
    kept = [row[: MOST - 2] for row in rows]
    most = max((len(row) for row in kept), default=0) + 2

    def padded(values: list[list[int]], padding: int) -> Any:
        return np.array([[*row, *([padding] * (most - len(row)))] for row in values], np.int32).reshape(-1, most)

    ids = [[1, *(zlib.crc32(f"{piece.word} {piece.length}".encode()) % 1000 + 3 for piece in row), 2] for row in kept]
    return {
        "input_word_ids": padded(ids, 0),
        "input_mask": padded([[1] * len(row) for row in ids], 0),
        "start_offsets": padded([[-1, *(piece.start for piece in row), -1] for row in kept], -1),
        "limit_offsets": padded([[-1, *(piece.limit for piece in row), -1] for row in kept], -1),
        "token_count": np.array([len(row) + 2 for row in rows], np.int32),
    }


def tagged(texts: list[bytes]) -> dict[str, Any]:
    found = tokens(texts)
    shape = found["input_mask"].shape
    scores, tags = np.zeros((*shape, len(TAGS)), np.float32), np.full(shape, b"", object)
    lengths = np.zeros(shape, np.int32)
    for row, text in enumerate(texts):
        for at, tag in enumerate(tag_of(text)):
            scores[row, at] = [0.9 if name == tag else 0.05 for name in TAGS]
            if found["start_offsets"][row, at] >= 0:
                tags[row, at], lengths[row, at] = tag.encode(), pieces(text)[at - 1].length
    names = np.array([[tag.encode() for tag in TAGS]] * len(texts), object)
    return {"tag_scores": scores, "tag": tags, "tags": names, "token_lengths": lengths, **found}


def classified(texts: list[bytes], pairs: list[bytes] | None = None) -> dict[str, Any]:
    rows = texts if pairs is None else [b" ".join(row) for row in zip(texts, pairs, strict=True)]
    scores = np.array([label_scores(row) for row in rows], np.float32).reshape(-1, len(LABELS))
    names = np.array([[label.encode() for label in LABELS]] * len(texts), object)
    return {"scores": scores, "labels": names, "label": names[range(len(texts)), scores.argmax(axis=1)]}


def scored(texts: list[bytes], pairs: list[bytes] | None = None) -> dict[str, Any]:
    return {"score": np.array([pair_score(*row) for row in zip(texts, pairs or texts, strict=True)], np.float32)}
