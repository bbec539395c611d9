"""Metrics of scores, for a report. Only numpy."""

from typing import Any

import numpy as np

from .labels import MULTI, REGRESSION, RELEVANCE, SINGLE, TAGGING, Problem

#: Number of bins of 0..1 for calibration.
_BINS = 10
#: Kind of problem -> metric that decides on the best epoch, and whether higher is better.
CHOSEN = {
    SINGLE: ("macro_f1", True), MULTI: ("macro_f1", True), RELEVANCE: ("auc", True), REGRESSION: ("rmse", False),
    TAGGING: ("f1", True),
}  # fmt: skip


def scores_of(problem: Problem, logits: np.ndarray) -> np.ndarray:
    """The exported model's scores, from logits in float64: float64 ``[rows or tokens, labels]``."""
    logits = logits.astype(np.float64)
    if problem.activation == "softmax":
        e = np.exp(logits - logits.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)
    if problem.activation == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
    return logits * problem.scale + problem.mean


def measure(problem: Problem, scores: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Metrics of scores.

    Args:
        problem: the problem.
        scores: see :func:`scores_of`.
        targets: see :meth:`.Problem.targets`.

    Returns:
        Numbers by name. For classes also ``classes``, each a dictionary with ``precision``, ``recall``, ``f1`` and
        ``rows``; for one label per row ``confusion`` (rows: true class, columns: predicted class), and, except for a
        regression, ``calibration``.
    """
    if problem.kind == REGRESSION:
        return _regression(scores[:, 0], targets[:, 0])
    if problem.kind == RELEVANCE:
        score, true = scores[:, 0], targets[:, 0] == 1
        return {
            "auc": auc(score, true),
            "average_precision": average_precision(score, true),
            "accuracy": float(((score >= 0.5) == true).mean()),
            **calibration(score, true),
        }
    if problem.kind == SINGLE:
        predicted = scores.argmax(1)
        counts = confusion(targets, predicted, len(problem.labels))
        hits, rows, found = np.diag(counts), counts.sum(1), counts.sum(0)
        sure = calibration(scores.max(1), predicted == targets)
        more = {"accuracy": float(hits.sum() / len(targets)), "confusion": counts.tolist(), **sure}
    else:
        predicted, true = scores >= 0.5, targets == 1
        hits, rows, found = (predicted & true).sum(0), true.sum(0), predicted.sum(0)
        micro = 2 * hits.sum() / max(1, rows.sum() + found.sum())
        exact = float((predicted == true).all(1).mean())
        more = {"exact_match": exact, "micro_f1": float(micro), **calibration(scores.ravel(), true.ravel())}
    classes = {
        label: {
            "precision": float(hit / max(1, of_found)),
            "recall": float(hit / max(1, of_rows)),
            "f1": float(2 * hit / max(1, of_rows + of_found)),
            "rows": int(of_rows),
        }
        for label, hit, of_rows, of_found in zip(problem.labels, hits, rows, found, strict=True)
    }
    # As in scikit-learn: a class without true and without predicted rows does not count.
    counted = [each["f1"] for each, a, b in zip(classes.values(), rows, found, strict=True) if a + b]
    return {"macro_f1": float(np.mean(counted)), **more, "classes": classes}


def _regression(found: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    off = found - true
    spread = float(np.square(true - true.mean()).sum())
    both_vary = found.std() > 0 and true.std() > 0
    return {
        "rmse": float(np.sqrt(np.square(off).mean())),
        "mae": float(np.abs(off).mean()),
        "r2": 1 - float(np.square(off).sum()) / spread if spread else None,
        "pearson": float(np.corrcoef(found, true)[0, 1]) if both_vary else None,
        "spearman": float(np.corrcoef(ranks(found), ranks(true))[0, 1]) if both_vary else None,
    }


def confusion(targets: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """The confusion matrix, int64 ``[classes, classes]``: a row per true class, a column per predicted class."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (targets, predicted), 1)
    return counts


def calibration(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Bins of confidences, and the expected calibration error (Guo et al., 2017, arXiv 1706.04599, 2)."""
    at = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    bins = []
    for number in range(_BINS):
        of = at == number
        if of.any():
            rows, sure, share = int(of.sum()), float(confidence[of].mean()), float(right[of].mean())
            bins.append({"from": number / _BINS, "rows": rows, "confidence": sure, "right": share})
    error = sum(each["rows"] * abs(each["confidence"] - each["right"]) for each in bins) / len(confidence)
    return {"calibration_error": float(error), "calibration": bins}


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def auc(score: np.ndarray, true: np.ndarray) -> float | None:
    """Area under the ROC curve: probability of a positive above a negative; ``None`` with only one kind of row."""
    positive = int(true.sum())
    negative = len(true) - positive
    if not positive or not negative:
        return None
    return float((ranks(score)[true].sum() - positive * (positive + 1) / 2) / (positive * negative))


def average_precision(score: np.ndarray, true: np.ndarray) -> float | None:
    """Mean precision at each positive, by descending score; equal scores form one step."""
    if not true.any():
        return None
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(true[order])
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    precision, recall = hits[ends] / (ends + 1), hits[ends] / true.sum()
    return float((np.diff(recall, prepend=0) * precision).sum())
