"""Evaluation of a model's scores on the validation rows: figures, predictions, and the worst mistakes."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from . import metrics
from .data import Table
from .labels import MULTI, REGRESSION, SINGLE, Problem


class Answers(Protocol):
    """Evaluation of rows with labels (:class:`RowAnswers`), or with spans (:class:`.spans.SpanAnswers`)."""

    def measure(self, scores: np.ndarray) -> Mapping[str, Any]:
        """Figures by name, from scores of :func:`.metrics.scores_of`."""

    def predictions(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """Every row with its prediction."""

    def worst(self, scores: np.ndarray, most: int) -> list[dict[str, Any]]:
        """The worst mistakes: ``at``, ``texts``, ``label`` and ``answer``; of spans also the places."""


class RowAnswers:
    """Evaluation of rows with labels.

    Args:
        problem: the problem.
        table, targets: the rows.
    """

    def __init__(self, problem: Problem, table: Table, targets: np.ndarray) -> None:
        self._problem, self._table, self._targets = problem, table, targets

    def measure(self, scores: np.ndarray) -> dict[str, Any]:
        """See :func:`.metrics.measure`."""
        return metrics.measure(self._problem, scores, self._targets)

    def predictions(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """Every row with its label and its scores."""
        return [
            {"texts": row.texts, "label": row.label, "scores": self._named(each)}
            for row, each in zip(self._table.rows, scores, strict=True)
        ]

    def worst(self, scores: np.ndarray, most: int) -> list[dict[str, Any]]:
        """The rows with the most confident wrong predictions; for numbers, those with the largest errors."""
        problem, targets = self._problem, self._targets
        rows = np.arange(len(self._table.rows))
        if problem.kind == SINGLE:
            off = scores.max(1) - scores[rows, targets]
            wrong = scores.argmax(1) != targets
        else:
            off = np.abs(scores - targets).max(1)
            wrong = np.ones(len(rows), bool) if problem.kind == REGRESSION else off > 0.5
        order = [row for row in np.argsort(-off, kind="stable") if wrong[row]][:most]

        def answer(row: int) -> Any:
            found = {label: round(score, 4) for label, score in self._named(scores[row]).items()}
            if problem.kind == MULTI:
                return {label: score for label, score in found.items() if score >= 0.5}
            best = max(found, key=found.__getitem__)
            return {best: found[best]} if problem.kind == SINGLE else found[best]

        return [
            {"at": row.at, "texts": list(row.texts), "label": row.label, "answer": answer(at)}
            for at in order
            for row in [self._table.rows[at]]
        ]

    def _named(self, scores: np.ndarray) -> dict[str, float]:
        return dict(zip(self._problem.labels, map(float, scores), strict=True))
