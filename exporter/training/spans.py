"""Spans and tokens: the targets of a tagger's tokens, and the spans in its scores.

Every token of a span learns a tag: the first token the tag of the span's beginning, the others the tag of its inside;
tokens outside of spans learn ``O``. Clients build spans from the tags of all tokens (``aggregation="simple"``), so
every token needs a target, except special tokens.

Spans are built from scores by the client's own rules (:mod:`...serving.client.entities`), in long texts with its own
windows, so that the evaluation is equal to the served results.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...serving.client import windows
from ...serving.client.entities import Aggregation, TokenTags, entities, merged
from ...serving.client.results import Entity
from ..errors import ConfigError, DataError
from . import metrics
from .batches import Tokens
from .data import Row, Table, some
from .labels import Problem
from .tags import OUTSIDE, PLAIN, Span, kinds_of, of_tokens, served_label

#: Function from texts, UTF-8, to tokens with offsets.
Tokenize = Callable[[Sequence[bytes]], Tokens]


class Part(NamedTuple):
    """A part of a text in one input of the model: its row, and its bytes ``[start, end)``."""

    row: int
    start: int
    end: int


@dataclass(frozen=True)
class Placed:
    """Rows with the tags of their tokens.

    Attributes:
        table: the rows.
        parts: of the texts, in order; all but long texts are one part.
        tokens: tokens of the parts.
        targets: index of each token's tag, int32, part by part.
        weights: float32, 0 for a token without a target.
        spans: spans of each row that a client could find at best: without characters at their ends that the tokenizer
            removes; with plain tags, neighbours are one span.
        unseen: number of spans that no client can find: a long text is cut before or within them, or the tokenizer
            removes all of their characters.
    """

    table: Table
    parts: tuple[Part, ...]
    tokens: Tokens
    targets: np.ndarray
    weights: np.ndarray
    spans: tuple[tuple[Span, ...], ...]
    unseen: int


def parts_of(texts: Sequence[bytes], tokenize: Tokenize, whole: Tokenize, stride: int | None) -> list[Part]:
    """The parts of texts in a client's calls: windows that share ``stride`` tokens, or whole texts without a stride.

    Args:
        texts: texts, UTF-8.
        tokenize: the model's tokenization.
        whole: tokenization without a limit.
        stride: see the client's ``tag``.

    Raises:
        ConfigError: the stride is as long as a window.
    """
    parts = [Part(row, 0, len(text)) for row, text in enumerate(texts)]
    if stride is None:
        return parts
    tokens = tokenize(texts)
    assert tokens.starts is not None
    long = np.flatnonzero(tokens.cut).tolist()
    if not long:
        return parts
    every = whole([texts[row] for row in long])
    assert every.starts is not None
    made = {}
    for row, starts in zip(long, every.starts, strict=True):
        most = int((tokens.starts[row] >= 0).sum())
        if stride >= most:
            raise ConfigError(f"stride is {stride}: give less than the model's limit of {most} tokens of a text")
        found = windows.windows(texts[row], starts[starts >= 0].tolist(), most, stride)
        made[row] = [Part(row, *span) for span, _ in found]
    return [each for part in parts for each in made.get(part.row, [part])]


def place(table: Table, problem: Problem, tokenize: Tokenize, whole: Tokenize, stride: int | None) -> Placed:
    """Assign the tags of spans to tokens.

    Raises:
        ConfigError: see :func:`parts_of`.
        DataError: a span begins or ends in the middle of a token.
    """
    texts = [row.texts[0].encode() for row in table.rows]
    parts = parts_of(texts, tokenize, whole, stride)
    tokens = tokenize([texts[row][start:end] for row, start, end in parts])
    assert tokens.starts is not None
    assert tokens.limits is not None
    rows = [_Spans(row, text, problem) for row, text in zip(table.rows, texts, strict=True)]
    targets, weights = list[np.ndarray](), list[np.ndarray]()
    for part, starts, limits, cut in zip(parts, tokens.starts, tokens.limits, tokens.cut, strict=True):
        found, weight = rows[part.row].tag(part, starts, limits, bool(cut))
        targets.append(found)
        weights.append(weight)
    faults = [fault for row in rows for fault in row.faults()]
    if faults:
        raise DataError(
            f"{table.path}: spans begin or end in the middle of a token ({len(faults)}): {some(faults)}; correct them"
        )
    spans = tuple(row.spans() for row in rows)
    unseen = sum(row.unseen() for row in rows)
    return Placed(table, tuple(parts), tokens, np.concatenate(targets), np.concatenate(weights), spans, unseen)


class _Seen(NamedTuple):
    """The visible part of a span; see :class:`_Spans`."""

    start: int
    end: int
    begins: bool
    ends: bool

    @property
    def whole(self) -> bool:
        return self.begins and self.ends

    def joined(self, other: "_Seen") -> "_Seen":
        """Joined with the visible part in another part of the text."""
        return _Seen(
            min(self.start, other.start),
            max(self.end, other.end),
            self.begins or other.begins,
            self.ends or other.ends,
        )


class _Spans:
    """The spans of a row, and the positions of its tokens."""

    def __init__(self, row: Row, text: bytes, problem: Problem) -> None:
        self._row, self._text, self._problem = row, text, problem
        self._given: tuple[Span, ...] = row.label
        # First byte of each character, and the end of the last one.
        begin = np.flatnonzero((np.frombuffer(text, np.uint8) & 0xC0) != 0x80)
        self._bytes = np.append(begin, len(text))
        self._starts = self._bytes[[span.start for span in self._given]].astype(np.int64)
        self._ends = self._bytes[[span.end for span in self._given]].astype(np.int64)
        self._kinds = kinds_of(problem)
        #: For each span the bytes of its tokens in all parts, and whether these include its beginning and its end.
        self._found: list[_Seen | None] = [None] * len(self._given)
        self._split: dict[int, str] = {}

    def tag(self, part: Part, starts: np.ndarray, limits: np.ndarray, cut: bool) -> tuple[np.ndarray, np.ndarray]:
        """Targets and weights of a part's tokens."""
        own = np.flatnonzero(starts >= 0)
        targets, weights = np.zeros(len(starts), np.int32), np.zeros(len(starts), np.float32)
        if self._problem.scheme != PLAIN:  # with plain tags every word has a span, also O
            weights[own] = 1
        if not len(own) or not self._given:
            return targets, weights
        starts, limits = starts[own] + part.start, limits[own] + part.start
        which = self._which(starts, limits)
        seen = (int(starts[0]), int(limits[-1])) if cut else (part.start, part.end)
        for span in np.unique(which[which >= 0]).tolist():
            at = np.flatnonzero(which == span)
            begins = self._is_blank(self._starts[span], seen[0])
            ends = self._is_blank(seen[1], self._ends[span])
            first = self._kinds[self._given[span].label]
            targets[own[at]] = of_tokens(self._problem, first, len(at), begins, ends)
            weights[own[at]] = 1
            now, before = _Seen(int(starts[at[0]]), int(limits[at[-1]]), begins, ends), self._found[span]
            self._found[span] = now if before is None else before.joined(now)
        return targets, weights

    def _which(self, starts: np.ndarray, limits: np.ndarray) -> np.ndarray:
        """The span of each token, -1 for none."""
        which = np.searchsorted(self._starts, starts, side="right") - 1
        after = np.minimum(which + 1, len(self._given) - 1)
        inside = (which >= 0) & (starts < self._ends[which])
        # A token may include the blank before a word; any other overlap is a fault.
        for token in np.flatnonzero((self._starts[after] > starts) & (self._starts[after] < limits)).tolist():
            span = int(after[token])
            if self._is_blank(starts[token], self._starts[span]):
                which[token], inside[token] = span, True
            else:
                self._part(span, starts[token], limits[token])
        for token in np.flatnonzero(inside & (limits > self._ends[which])).tolist():
            if not self._is_blank(self._ends[which[token]], limits[token]):
                self._part(int(which[token]), starts[token], limits[token])
        return np.where(inside, which, -1)

    def _is_blank(self, start: Any, end: Any) -> bool:
        return not self._text[int(start) : int(end)].decode("utf-8", "replace").strip()

    def _part(self, span: int, start: Any, end: Any) -> None:
        self._split[span] = self._text[int(start) : int(end)].decode("utf-8", "replace")

    def faults(self) -> list[str]:
        """Spans that begin or end within a token."""
        return [
            f"{self._row.at} ({_named(self._row, span)} from {span.start}: the token is {token!r:.40})"
            for span, token in ((self._given[at], token) for at, token in self._split.items())
        ]

    def unseen(self) -> int:
        """See :attr:`Placed.unseen`."""
        return sum(
            span.label != OUTSIDE and (found is None or not found.whole)
            for found, span in zip(self._found, self._given, strict=True)
        )

    def spans(self) -> tuple[Span, ...]:
        """See :attr:`Placed.spans`."""
        made, before = list[Span](), -1
        for at, (span, found) in enumerate(zip(self._given, self._found, strict=True)):
            if span.label == OUTSIDE:
                continue
            start, end = span.start, span.end
            if found is not None and found.whole:  # includes partly covered characters
                start = int(np.searchsorted(self._bytes, found.start, side="right")) - 1
                end = int(np.searchsorted(self._bytes, found.end, side="left"))
            plain, last = self._problem.scheme == PLAIN, self._given[before] if before >= 0 else None
            # The tags of two words are the spans at and at - 1: there is one for every word.
            if plain and last is not None and before == at - 1 and last.label == span.label:
                made[-1] = made[-1]._replace(end=end)
            else:
                made.append(Span(start, end, served_label(span.label) if plain else span.label))
            before = at
        return tuple(made)


class SpanAnswers:
    """Evaluation of a tagger's scores; see :class:`.answers.Answers`.

    Args:
        placed: the rows.
        problem: the problem.
        lengths: ``token_lengths`` of the vocabulary, see the contract.
        aggregation: see the client's ``tag``.
    """

    def __init__(self, placed: Placed, problem: Problem, lengths: Sequence[int], aggregation: Aggregation) -> None:
        self._placed, self._problem = placed, problem
        self._lengths, self._aggregation = np.array(lengths, np.int32), aggregation
        self._tags = np.array([tag.encode() for tag in problem.labels], object)
        self._last: tuple[np.ndarray, list[list[Entity]]] | None = None

    def found(self, scores: np.ndarray) -> list[list[Entity]]:
        """The spans of each row by the client's rules.

        Args:
            scores: ``[tokens, tags]``, part by part.
        """
        if self._last is not None and self._last[0] is scores:
            return self._last[1]
        tokens, texts = self._placed.tokens, [row.texts[0] for row in self._placed.table.rows]
        assert tokens.starts is not None
        assert tokens.limits is not None
        rows: list[list[list[Entity]]] = [[] for _ in texts]
        end = 0
        for at, part in enumerate(self._placed.parts):
            begin, end = end, end + len(tokens.ids[at])
            served = TokenTags(
                ids=tokens.ids[at],
                start_offsets=tokens.starts[at],
                limit_offsets=tokens.limits[at],
                token_count=len(tokens.ids[at]),
                tag_scores=scores[begin:end].astype(np.float32),
                tag=np.array([], object),
                tags=self._tags,
                token_lengths=self._lengths[tokens.ids[at]],
            )
            rows[part.row].append(entities(texts[part.row], served, self._aggregation, {OUTSIDE}, part.start))
        found = [merged(entity for part in row for entity in part) if len(row) > 1 else row[0] for row in rows]
        self._last = (scores, found)
        return found

    def measure(self, scores: np.ndarray) -> dict[str, Any]:
        """Figures of spans: a span is right if its label and both ends are right.

        Also figures of all tokens with a target: ``token_accuracy``, ``tags`` with their ``confusion`` (a row per true
        tag), and ``calibration``.
        """
        found = [[_span(entity) for entity in row] for row in self.found(scores)]
        figures = f1_of(self._placed.spans, found)
        counted = self._placed.weights > 0
        scores, targets = scores[counted], self._placed.targets[counted]
        predicted = scores.argmax(1)
        tags = self._problem.labels
        return {
            **figures,
            "token_accuracy": float((predicted == targets).mean()),
            "tags": list(tags),
            "confusion": metrics.confusion(targets, predicted, len(tags)).tolist(),
            **metrics.calibration(scores.max(1), predicted == targets),
        }

    def predictions(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """Every row with its given and its found spans."""
        rows = zip(self._placed.table.rows, self._placed.spans, self.found(scores), strict=True)
        return [
            {
                "text": row.texts[0],
                "spans": [span._asdict() for span in spans],
                "entities": [
                    {"label": each.label, "text": each.text, "start": each.start, "end": each.end, "score": each.score}
                    for each in found
                ],
            }
            for row, spans, found in rows
        ]

    def worst(self, scores: np.ndarray, most: int) -> list[dict[str, Any]]:
        """The rows with the most mistakes, missed and wrong spans, sorted by scores."""
        rows = []
        for row, spans, found in zip(self._placed.table.rows, self._placed.spans, self.found(scores), strict=True):
            missed = set(spans) - {_span(entity) for entity in found}
            wrong = [entity for entity in found if _span(entity) not in set(spans)]
            if missed or wrong:
                rows.append((len(missed) + sum(entity.score for entity in wrong), row, sorted(missed), wrong))
        rows.sort(key=lambda each: -each[0])
        return [
            {
                "at": row.at,
                "texts": [row.texts[0]],
                "label": [_named(row, span) for span in missed],
                "answer": [f"{_named(row, _span(entity))} {entity.score:.2f}" for entity in wrong],
                "missed": [[span.start, span.end] for span in missed],
                "wrong": [[entity.start, entity.end] for entity in wrong],
            }
            for _, row, missed, wrong in rows[:most]
        ]


def _span(entity: Entity) -> Span:
    return Span(entity.start, entity.end, entity.label)


def _named(row: Row, span: Span) -> str:
    return f"{span.label} {row.texts[0][span.start : span.end]!r}"


def f1_of(given: Sequence[Sequence[Span]], found: Sequence[Sequence[Span]]) -> dict[str, Any]:
    """Precision, recall and F1 of spans, over all of them and by label: seqeval's strict figures.

    A span is right if a given span of its row has the same label, start and end.

    Returns:
        ``f1``, ``precision`` and ``recall`` over all spans, ``macro_f1``, the mean over labels, and ``entities``: a
        dictionary for each label with ``precision``, ``recall``, ``f1`` and ``spans`` (given ones).
    """
    counts: dict[str, np.ndarray] = {}  # right, given, found
    for true, answers in zip(given, found, strict=True):
        for column, spans in enumerate((set(true) & set(answers), true, answers)):
            for span in spans:
                counts.setdefault(span.label, np.zeros(3, int))[column] += 1
    each = {label: {**_figures(counts[label]), "spans": int(counts[label][1])} for label in sorted(counts)}
    total = np.sum(list(counts.values()), 0) if counts else np.zeros(3, int)
    macro = float(np.mean([figures["f1"] for figures in each.values()])) if each else 0.0
    return {**_figures(total), "macro_f1": macro, "entities": each}


def _figures(counts: np.ndarray) -> Mapping[str, float]:
    right, given, found = counts.tolist()
    return {
        "f1": 2 * right / max(1, given + found),
        "precision": right / max(1, found),
        "recall": right / max(1, given),
    }
