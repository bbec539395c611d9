"""``classify``, ``tag``, ``score`` and ``rerank`` of both clients as plans, see :mod:`.calls`."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np

from .. import contract
from ..contract import Kind
from ..errors import DecodeError
from ..wire.codec import Array
from ..wire.messages import Row
from . import requests, windows
from .base import BaseClient, Texts, deadline_of
from .calls import C, Plan
from .entities import AGGREGATIONS, Aggregation, TokenTags, entities, merged
from .results import Classification, Ranked, TaggedText, Tokens
from .settings import CallOptions, TextKeywords, whole_number

#: Two texts to score together, or one text for a model of single texts.
Pair = tuple[str | bytes, str | bytes] | str | bytes

_SCORES, _LABELS, _SCORE = (
    next(output.name for output in signature.outputs if output.kind is kind)
    for signature, kind in (
        (contract.CLASSIFY, Kind.LABEL_SCORE),
        (contract.CLASSIFY, Kind.NAME),
        (contract.SCORE, Kind.SCORE),
    )
)
_TAGS: Final = contract.TAG.name
_TOKENIZE: Final = contract.TOKENIZE.name


class _Labelled(NamedTuple):
    """Scores of the labels, float32 ``[labels]``, and the version that answered."""

    labels: tuple[str, ...]
    scores: Array
    version: int | None


class _Window(NamedTuple):
    """A part of a text: index of its row, its byte range, and its number of tokens (1 for a whole text)."""

    row: int
    start: int
    end: int
    tokens: int


class TaskClient(BaseClient[C]):
    """See the module."""

    def _classify(
        self,
        texts: Texts,
        top_k: int | None,
        threshold: float | None,
        stride: int | None,
        keywords: Mapping[str, Any],
    ) -> Plan[list[Classification]]:
        options, rows = self._asked(contract.CLASSIFY.name, texts, keywords)
        top_k = None if top_k is None else whole_number("top_k", top_k, 1)
        if threshold is not None and not isinstance(threshold, (int, float, np.number)):
            raise TypeError(f"threshold is {threshold!r}: give a number")
        if stride is None:
            answers = yield from self._each(_labelled, rows, options)
        else:
            if any(len(row) > 1 for row in rows):
                raise ValueError("stride is for single texts, not for pairs: leave it out")
            deadline = deadline_of(options)
            parts = yield from self._windows(rows, stride, options, deadline)
            found = yield from self._each(_labelled, _cut(rows, parts), _within(options, deadline))
            answers = [
                _mean(list(group)) for _, group in groupby(zip(parts, found, strict=True), lambda each: each[0].row)
            ]
        return [_classification(each, top_k, threshold) for each in answers]

    def _tag(
        self,
        texts: Texts,
        aggregation: Aggregation,
        ignored: Collection[str],
        stride: int | None,
        keywords: Mapping[str, Any],
    ) -> Plan[list[TaggedText]]:
        if aggregation not in AGGREGATIONS:
            raise ValueError(f"aggregation is {aggregation!r}: give one of {', '.join(AGGREGATIONS)}")
        if isinstance(ignored, (str, bytes)):
            raise TypeError(f"ignore_labels is {ignored!r}: give a list of labels")
        if "text_pair" in keywords:
            raise TypeError("tag takes no text_pair: give single texts")
        ignored = frozenset(ignored)
        requests.check_texts(texts)
        given = list(texts)
        options, rows = self._asked(_TAGS, given, keywords)
        deadline = deadline_of(options)
        parts = [_Window(at, 0, len(text), 1) for at, (text,) in enumerate(rows)]
        if stride is not None:
            parts = yield from self._windows(rows, stride, options, deadline)
        decode = partial(requests.per_text, TokenTags, _TAGS)
        tokens = yield from self._each(decode, _cut(rows, parts), _within(options, deadline))
        made = []
        for row, group in groupby(zip(parts, tokens, strict=True), lambda each: each[0].row):
            pairs = list(group)
            found = [
                entity
                for part, each in pairs
                for entity in entities(given[row], each, aggregation, ignored, part.start)
            ]
            cut = any(each.truncated for _, each in pairs)
            made.append(TaggedText(tuple(merged(found) if len(pairs) > 1 else found), cut, pairs[0][1].model_version))
        return made

    def _score(self, pairs: Iterable[Pair], return_version: bool, keywords: Mapping[str, Any]) -> Plan[Any]:
        options = self._options(keywords, TextKeywords, contract.SCORE.name)
        scores = yield from self._each(_scored, _pair_rows(pairs), options)
        found = np.array([score for score, _ in scores], np.float32)
        return (found, scores[0][1] if scores else None) if return_version else found

    def _rerank(
        self, query: str | bytes, documents: Texts, top_k: int | None, keywords: Mapping[str, Any]
    ) -> Plan[list[Ranked]]:
        options = self._options(keywords, TextKeywords, contract.SCORE.name)
        top_k = None if top_k is None else whole_number("top_k", top_k, 1)
        if not isinstance(query, (str, bytes)):
            raise TypeError(f"query is a {type(query).__name__}: give one text")
        requests.check_texts(documents, "documents")
        given = list(documents)
        (first,) = requests.as_rows([query])[0]
        rows = [(first, requests.encoded(each, "documents", at)) for at, each in enumerate(given)]
        scores = yield from self._each(_scored, rows, options)
        order = np.argsort([-score for score, _ in scores], kind="stable")[:top_k]
        return [Ranked(at, float(scores[at][0]), given[at], scores[at][1]) for at in order.tolist()]

    def _windows(
        self, rows: Sequence[Row], stride: int, options: CallOptions, deadline: float | None
    ) -> Plan[list[_Window]]:
        """Windows over the texts, in their order; one window for a text that fits into the model."""
        stride = whole_number("stride", stride, 0)
        asked = replace(options, signature_name=_TOKENIZE)
        decode = partial(requests.per_text, Tokens, _TOKENIZE)
        starts: list[dict[int, list[int]]] = [{} for _ in rows]
        most: dict[int, int] = {}
        # Texts that the model cuts are tokenized again in parts, until no part is cut.
        spans = [(at, (0, len(text))) for at, (text,) in enumerate(rows)]
        while spans:
            cut = [(rows[at][0][start:end],) for at, (start, end) in spans]
            found = yield from self._each(decode, cut, _within(asked, deadline))
            again = []
            for (at, span), tokens in zip(spans, found, strict=True):
                smaller = []
                if tokens.truncated:
                    most[at] = windows.room(tokens)
                    if stride >= most[at]:
                        raise ValueError(
                            f"stride is {stride}: give less than the model's limit of {most[at]} tokens of a text"
                        )
                    smaller = windows.parts(rows[at][0], span, tokens)
                if len(smaller) > 1:
                    again += [(at, each) for each in smaller]
                else:
                    own = tokens.start_offsets[tokens.start_offsets >= 0]
                    starts[at][span[0]] = (own + span[0]).tolist()
            spans = again
        made = []
        for at, (text,) in enumerate(rows):
            if at not in most:
                made.append(_Window(at, 0, len(text), 1))
                continue
            every = [start for _, part in sorted(starts[at].items()) for start in part]
            made += [_Window(at, *span, count) for span, count in windows.windows(text, every, most[at], stride)]
        return made


def _within(options: CallOptions, deadline: float | None) -> CallOptions:
    """Options of a further call, for the remaining time."""
    return options if deadline is None else replace(options, timeout=max(deadline - time.monotonic(), 0.001))


def _cut(rows: Sequence[Row], parts: Sequence[_Window]) -> list[Row]:
    return [(rows[part.row][0][part.start : part.end],) for part in parts]


def _labelled(outputs: Mapping[str, Array], rows: int, version: int | None) -> list[_Labelled]:
    """Decode an answer of ``classify``."""
    scores, names = (requests.output(outputs, name, rows, 2) for name in (_SCORES, _LABELS))
    if names.shape != scores.shape:
        raise DecodeError(f"the answer has {scores.shape[1]} scores for a text, but {names.shape[1]} labels")
    labels = tuple(name.decode("utf-8", "replace") for name in names[0])
    return [_Labelled(labels, row, version) for row in scores]


def _mean(found: Sequence[tuple[_Window, _Labelled]]) -> _Labelled:
    """Mean over the windows of a text, weighted by tokens."""
    weights = [part.tokens for part, _ in found]
    scores = np.average([each.scores for _, each in found], axis=0, weights=weights)
    return found[0][1]._replace(scores=scores.astype(np.float32))


def _classification(found: _Labelled, top_k: int | None, threshold: float | None) -> Classification:
    order = np.argsort(-found.scores, kind="stable").tolist()
    # Compared in float32: the float32 nearest to 0.7 is below the float64 0.7.
    kept = [at for at in order if threshold is None or found.scores[at] >= np.float32(threshold)][:top_k]
    scores: dict[str, float] = {}
    for at in kept:
        scores.setdefault(found.labels[at], float(found.scores[at]))
    return Classification(found.labels[order[0]], float(found.scores[order[0]]), scores, found.version)


def _scored(outputs: Mapping[str, Array], rows: int, version: int | None) -> list[tuple[Any, int | None]]:
    """Decode an answer of ``score``."""
    return [(score, version) for score in requests.output(outputs, _SCORE, rows, 1)]


def _pair_rows(pairs: Iterable[Any]) -> list[Row]:
    requests.check_texts(pairs, "pairs")
    rows: list[Row] = []
    for at, pair in enumerate(pairs):
        single = isinstance(pair, (str, bytes))
        if not single and not (isinstance(pair, (tuple, list)) and len(pair) == 2):
            raise TypeError(f"pairs[{at}] is {pair!r:.60}: give a tuple of two texts, or one text")
        rows.append(tuple(requests.encoded(text, "pairs", at) for text in ((pair,) if single else pair)))
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(f"pairs[{at}] is {pair!r:.60}: give tuples of two texts, or texts alone, not both")
    return rows
