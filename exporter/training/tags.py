"""Schemes of tags: from the tags of words to spans, and from spans to the tags that a model learns.

Tags of any scheme become spans, and spans become tags of tokens. A word may have several tokens, so the tags of words
and tokens differ: ``S-PER`` for a word of two tokens becomes ``B-PER`` and ``E-PER``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...serving.plurals import counted
from ..errors import DataError
from .data import Table
from .labels import TAGGING, Problem, listed, notes_of, split

#: Schemes that a model learns. Plain tags have no prefixes: neighbours with the same tag are one span.
PLAIN, BIO, BIOES = "plain", "BIO", "BIOES"
OUTSIDE = "O"

#: Prefixes of the schemes' spellings (BILOU, BMES) as those of BIOES.
_PREFIXES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
#: If there are more different labels than this, and fewer than two spans for each, the labels are not kinds of spans.
_MOST_KINDS = 100


class Span(NamedTuple):
    """A part of a text and its label; ``start`` and ``end`` in characters."""

    start: int
    end: int
    label: str


class Sentence(NamedTuple):
    """Words with their tags, and their place in the file."""

    words: Sequence[str]
    tags: Sequence[str]
    at: str


@dataclass
class _Seen:
    """Spans whose beginning or end violates their scheme.

    Attributes:
        loose: number of spans that begin with ``I-`` (or ``E-``).
        first: place of the first one.
        tight: number of ``B-`` that only BIO requires: not directly after a span of the same kind.
        open: number of spans of BIOES without an end.
    """

    loose: int = 0
    first: str = ""
    tight: int = 0
    open: int = 0


def scheme_of(path: Path, tags: Iterable[str]) -> str | None:
    """The scheme of a file's tags; ``None`` if all are ``O``.

    Raises:
        DataError: only some of the tags have the prefixes of a scheme.
    """
    others = sorted(set(tags) - {OUTSIDE})
    prefixed = [tag for tag in others if tag[:1] in _PREFIXES and tag[1:2] == "-" and len(tag) > 2]
    if not others:
        return None
    if len(prefixed) == len(others):
        return BIO if {tag[0] for tag in others} <= {"B", "I"} else BIOES
    if any(tag[0] in "BI" for tag in prefixed):
        without = [tag for tag in others if tag not in prefixed]
        raise DataError(
            f"{path}: some tags have a prefix ({listed(prefixed)}) and others have none ({listed(without)}): use B- "
            "and I- for entities, and O for the rest"
        )
    return PLAIN


def served_label(tag: str) -> str:
    """The span label of a tag in clients (transformers' pipeline, and this project's)."""
    return tag.split("-", 1)[-1]


def to_spans(path: Path, sentences: Sequence[Sentence]) -> tuple[str | None, list[list[Span]], list[str]]:
    """Spans of tagged words; the text is the words joined by single spaces.

    Args:
        path: the file, for messages.
        sentences: sentences without blank words.

    Returns:
        The scheme, the spans of each sentence, and notes. With plain tags every word is a span, also ``O``.

    Raises:
        DataError: see :func:`scheme_of`.
    """
    scheme = scheme_of(path, (tag for sentence in sentences for tag in sentence.tags))
    if scheme is None:
        return None, [[] for _ in sentences], []
    seen = _Seen()
    found = []
    for sentence in sentences:
        starts, at = list[int](), 0
        for word in sentence.words:
            starts.append(at)
            at += len(word) + 1
        groups = _plain(sentence.tags) if scheme == PLAIN else _groups(sentence, scheme, seen)
        found.append(
            [Span(starts[first], starts[last] + len(sentence.words[last]), label) for first, last, label in groups]
        )
    return scheme, found, _notes(path, scheme, seen)


def _plain(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    return [(at, at, tag) for at, tag in enumerate(tags)]


def _groups(sentence: Sentence, scheme: str, seen: _Seen) -> list[tuple[int, int, str]]:
    """First word, last word and kind of each span. Spans that begin with ``I-`` are treated as in conlleval."""
    groups: list[tuple[int, int, str]] = []
    running: str | None = None  # kind of the span that the next word may continue
    before: tuple[int, str] = (-2, "")  # last word and kind of the last span
    for at, tag in enumerate(sentence.tags):
        if tag == OUTSIDE:
            seen.open += scheme == BIOES and running is not None
            running = None
            continue
        prefix, kind = _PREFIXES[tag[0]], tag[2:]
        goes_on = running == kind and prefix in "IE"
        if goes_on:
            groups[-1] = (groups[-1][0], at, kind)
        else:
            seen.open += scheme == BIOES and running is not None
            if prefix in "IE":
                seen.loose += 1
                seen.first = seen.first or f"{tag} of {sentence.words[at]!r}, {sentence.at}"
            elif prefix == "B" and before != (at - 1, kind):
                seen.tight += 1
            groups.append((at, at, kind))
        before = (at, kind)
        running = None if prefix in "ES" else kind
    seen.open += scheme == BIOES and running is not None
    return groups


def _notes(path: Path, scheme: str, seen: _Seen) -> list[str]:
    if scheme == BIO and seen.loose and not seen.tight:
        return [f"{path.name}: tags are IOB1 (B- only where two spans of a kind meet) and are converted to BIO"]
    notes = []
    if seen.loose:
        notes.append(f"{path.name}: accepted {counted(seen.loose, 'span')} without B- at the beginning ({seen.first})")
    if seen.open:
        notes.append(f"{path.name}: accepted {counted(seen.open, 'span')} of {scheme} without an end (E- or S-)")
    return notes


def find(table: Table, scheme: str | None) -> tuple[Problem, list[str]]:
    """The problem of tagged training rows, and notes for the user.

    Raises:
        DataError: nothing to learn.
    """
    counts = Counter(span.label for row in table.rows for span in row.label)
    if not counts or scheme is None:
        raise DataError(f"{table.path}: no row has a span, every word is {OUTSIDE}; add rows with spans")
    if scheme != PLAIN and OUTSIDE in counts:
        raise DataError(
            f"{table.path}: {OUTSIDE!r} cannot be the label of a span, which marks words outside of spans; rename it"
        )
    if scheme == PLAIN and len(counts) == 1:
        raise DataError(f"{table.path}: every word has the tag {next(iter(counts))!r}; add rows with another tag")
    if len(counts) > _MOST_KINDS and len(counts) * 2 > sum(counts.values()):
        raise DataError(
            f"{table.path}: {len(counts)} different labels of {sum(counts.values())} spans: these are not kinds of "
            "entities; check that --label names the right column"
        )
    kinds = sorted(set(counts) - {OUTSIDE})
    if scheme == PLAIN:
        tags = [*([OUTSIDE] if OUTSIDE in counts else []), *kinds]
    else:
        prefixes = "BI" if scheme == BIO else "BIES"
        tags = [OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in prefixes)]
    notes = notes_of(counts, "spans")
    if scheme == PLAIN and (renamed := [kind for kind in kinds if served_label(kind) != kind]):
        notes.append(
            f"labels are served without the part before their first '-', as in transformers: {listed(renamed)}"
        )
    return Problem(TAGGING, tuple(tags), scheme=scheme), notes


def require_known(table: Table, scheme: str | None, problem: Problem) -> None:
    """Check validation rows against training rows.

    Raises:
        DataError: other kinds, other tags, or no spans.
    """
    if scheme is None or not any(span.label != OUTSIDE for row in table.rows for span in row.label):
        raise DataError(f"{table.path}: no validation row has a span; add rows with spans")
    if (scheme == PLAIN) != (problem.scheme == PLAIN):
        raise DataError(
            f"{table.path}: its tags are {scheme}, but those of the training rows {problem.scheme}; use one scheme"
        )
    known = kinds_of(problem)
    unseen = {span.label: row.at for row in reversed(table.rows) for span in row.label if span.label not in known}
    if unseen:
        raise DataError(
            f"{table.path}: the training rows never have {listed(unseen)} ({next(reversed(unseen.values()))} does): "
            "add such rows to them, or remove the label here"
        )


def hold_back(table: Table, share: float, seed: int) -> tuple[Table, Table]:
    """Split rows at random into training and validation rows.

    Rows with a kind that no other row has go to the training rows.

    Raises:
        DataError: too few rows with spans.
    """
    order = np.random.default_rng([seed, 1]).permutation(len(table.rows))
    held = np.zeros(len(table.rows), bool)
    held[order[: max(round(len(order) * share), 1)]] = True
    kinds = [{span.label for span in row.label} for row in table.rows]
    left = Counter(kind for at, own in enumerate(kinds) if not held[at] for kind in own)
    for at in np.flatnonzero(held):
        if any(not left[kind] for kind in kinds[at]):
            held[at] = False
            left.update(kinds[at])
    if not any(kinds[at] - {OUTSIDE} for at in np.flatnonzero(held)) or held.all():
        raise DataError(f"{table.path}: too few rows to hold some back ({len(held)}): give --validation")
    return split(table, held)


def kinds_of(problem: Problem) -> Mapping[str, int]:
    """Labels of spans, each with the index of its first tag."""
    if problem.scheme == PLAIN:
        return {tag: at for at, tag in enumerate(problem.labels)}
    each = 2 if problem.scheme == BIO else 4
    return {tag[2:]: at for at, tag in enumerate(problem.labels) if at % each == 1}


def of_tokens(problem: Problem, first: int, count: int, begins: bool, ends: bool) -> list[int]:
    """Indices of the tags of a span's tokens.

    Args:
        problem: see :func:`find`.
        first: see :func:`kinds_of`.
        count: number of tokens.
        begins, ends: whether the span's first and last token are included, which is false in truncated texts.
    """
    if problem.scheme == PLAIN:
        return [first] * count
    tags = [first + 1] * count  # I
    if problem.scheme == BIOES:
        if ends:
            tags[-1] = first + 2  # E
        if begins:
            tags[0] = first + 3 if ends and count == 1 else first  # S or B
    elif begins:
        tags[0] = first
    return tags
