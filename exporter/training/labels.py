"""The problem in the labels of rows: classes, several labels per text, or a number."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import DataError
from .data import Row, Table

#: Kinds of problems.
SINGLE, MULTI, RELEVANCE, REGRESSION = "single label", "multi-label", "relevance", "regression"
#: A label for each token; see :mod:`.tags`.
TAGGING = "tagging"

_FRACTION = re.compile(r"[+-]?(\d+[.,]\d*|[.,]\d+)([eE][+-]?\d+)?")
#: If there are more different labels than this, and fewer than two rows for each, the labels are not classes.
_MOST_CLASSES = 50


@dataclass(frozen=True)
class Problem:
    """The problem to learn.

    Attributes:
        kind: one of the constants of this module.
        labels: names of the model's outputs; one name for a number.
        mean, scale: for a regression: the model learns ``(value - mean) / scale``.
        scheme: scheme of a tagger's labels, see :mod:`.tags`.
    """

    kind: str
    labels: tuple[str, ...]
    mean: float = 0.0
    scale: float = 1.0
    scheme: str | None = None

    @property
    def problem_type(self) -> str | None:
        """The value for transformers' config.json."""
        return {
            SINGLE: "single_label_classification",
            MULTI: "multi_label_classification",
            REGRESSION: "regression",
        }.get(self.kind)

    @property
    def activation(self) -> str:
        """The function from logits to scores."""
        return {SINGLE: "softmax", TAGGING: "softmax", REGRESSION: "identity"}.get(self.kind, "sigmoid")

    def targets(self, table: Table) -> np.ndarray:
        """Labels in the form of the loss.

        Returns:
            int32 ``[rows]``, the class of each; float32 ``[rows, labels]`` of 0 and 1 (multi-label); or float32
            ``[rows, 1]``, the numbers themselves.

        Raises:
            DataError: a label is not one of :attr:`labels`, or of another kind.
        """
        if self.kind in (RELEVANCE, REGRESSION):
            values = [_number(row, table) for row in table.rows]
            others = [row for row, value in zip(table.rows, values, strict=True) if value not in (0, 1)]
            if self.kind == RELEVANCE and others:
                row = others[0]
                raise DataError(
                    f"{table.path}: {row.at}: the label is {row.label!r}, but training rows have 0 and 1; correct it"
                )
            return np.array(values, np.float32)[:, np.newaxis]
        index = {label: at for at, label in enumerate(self.labels)}
        named = [_labels(row, table, self.kind) for row in table.rows]
        unseen = Counter(label for labels in named for label in labels if label not in index)
        if unseen:
            first = next(row.at for row, labels in zip(table.rows, named, strict=True) if set(labels) & set(unseen))
            raise DataError(
                f"{table.path}: the training rows never have {listed(unseen)} ({first} does): add such rows to them, "
                "or remove the label here"
            )
        if self.kind == SINGLE:
            return np.array([index[label] for (label,) in named], np.int32)
        targets = np.zeros((len(named), len(self.labels)), np.float32)
        for at, labels in enumerate(named):
            targets[at, [index[label] for label in labels]] = 1
        return targets


def find(table: Table, task: str) -> tuple[Problem, list[str]]:
    """The problem of training rows, and notes for the user.

    Raises:
        DataError: nothing to learn, or labels of another task.
    """
    if task == "score":
        return _score(table)
    kind = MULTI if any(isinstance(row.label, list) for row in table.rows) else SINGLE
    counts = Counter(label for row in table.rows for label in _labels(row, table, kind))
    rows = len(table.rows)
    if kind == SINGLE:
        if all(isinstance(row.label, float) or _FRACTION.fullmatch(str(row.label).strip()) for row in table.rows):
            raise DataError(
                f"{table.path}: the labels are numbers with fractions ({table.rows[0].label!r} in {table.rows[0].at}), "
                "but the task needs classes; use --task score for numbers, or write classes as words or whole numbers"
            )
        if len(counts) == 1:
            raise DataError(f"{table.path}: every row has the label {next(iter(counts))!r}; add rows of another class")
        if len(counts) > _MOST_CLASSES and len(counts) * 2 > rows:
            raise DataError(
                f"{table.path}: {len(counts)} different labels in {rows} rows: not classes; check that --label names "
                "the right column"
            )
    elif not counts:
        raise DataError(f"{table.path}: no row has a label; check --label and --label-separator")
    elif all(count == rows for count in counts.values()):
        raise DataError(f"{table.path}: every row has the same labels ({listed(counts)}); add rows with other labels")
    notes = notes_of(counts, "rows")
    numeric = all(re.fullmatch(r"-?\d+", label) for label in counts)
    return Problem(kind, tuple(sorted(counts, key=(lambda name: (int(name), name)) if numeric else None))), notes


def notes_of(counts: Mapping[str, int], what: str) -> list[str]:
    """Notes for the user about labels with these numbers of rows, or spans."""
    notes = []
    alike = Counter(label.strip().casefold() for label in counts)
    if twins := sorted(label for label in counts if alike[label.strip().casefold()] > 1):
        notes.append(
            f"labels that differ only in case or space count as different labels: {', '.join(map(repr, twins))}"
        )
    if rare := {label: count for label, count in counts.items() if count < 5}:
        notes.append(f"labels with fewer than 5 {what} are hardly learned: {listed(rare)}")
    return notes


def _score(table: Table) -> tuple[Problem, list[str]]:
    values = np.array([_number(row, table) for row in table.rows])
    if len(set(values.tolist())) == 1:
        raise DataError(f"{table.path}: every row has the label {table.rows[0].label!r}; add rows with other labels")
    if set(values.tolist()) == {0.0, 1.0}:
        return Problem(RELEVANCE, ("score",)), ["labels are 0 and 1: the score is a probability (sigmoid)"]
    return Problem(REGRESSION, ("score",), float(values.mean()), float(values.std())), []


def _number(row: Row, table: Table) -> float:
    """The label as a number."""
    try:
        value = float(row.label) if isinstance(row.label, int | float | str) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 1e30:
        raise DataError(
            f"{table.path}: {row.at}: the label is {row.label!r:.60}, but task score needs a number; for classes use "
            "--task classify"
        )
    return value


def _labels(row: Row, table: Table, kind: str) -> list[str]:
    """The labels of a row as strings."""
    if isinstance(row.label, list) != (kind == MULTI):
        raise DataError(
            f"{table.path}: {row.at}: the label is {row.label!r:.60}; expected "
            f"{'a list of labels' if kind == MULTI else 'one label'}, as in the other rows; correct it"
        )
    labels = row.label if kind == MULTI else [row.label]
    for label in labels:
        if not isinstance(label, str | int | float) or not str(label).strip():
            raise DataError(f"{table.path}: {row.at}: {label!r:.60} is not the name of a label; write a non-empty text")
    return list(dict.fromkeys(str(label).lower() if isinstance(label, bool) else str(label) for label in labels))


def listed(labels: Iterable[str]) -> str:
    """Names for a message: at most five."""
    names = sorted(labels)
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def hold_back(table: Table, problem: Problem, share: float, seed: int) -> tuple[Table, Table]:
    """Split rows into training and validation rows, by class if there are classes.

    A class with one row goes to the training rows.

    Raises:
        DataError: too few rows.
    """
    rng = np.random.default_rng([seed, 1])
    targets = problem.targets(table)
    groups: list[Sequence[int] | np.ndarray]
    if problem.kind == SINGLE:
        groups = [np.flatnonzero(targets == at) for at in range(len(problem.labels))]
    elif problem.kind == RELEVANCE:
        groups = [np.flatnonzero(targets[:, 0] == value) for value in (0, 1)]
    else:
        groups = [np.arange(len(targets))]
    held = np.zeros(len(targets), bool)
    for group in groups:
        count = min(max(round(len(group) * share), 1), len(group) - 1)
        held[rng.permutation(group)[:count]] = True
    if not held.any():
        raise DataError(f"{table.path}: too few rows to hold some back ({len(targets)}): give --validation")

    trained, validation = split(table, held)
    if problem.kind == MULTI:  # all rows of a label may have been held back
        seen = {label for row in trained.rows for label in _labels(row, table, MULTI)}
        if missing := set(problem.labels) - seen:
            raise DataError(f"{table.path}: too few rows have {listed(missing)}: give --validation, or more rows")
    return trained, validation


def split(table: Table, held: np.ndarray) -> tuple[Table, Table]:
    """The training rows and the validation rows; ``held``: bool ``[rows]``, the validation rows."""
    kept, back = (
        tuple(row for row, at in zip(table.rows, held, strict=True) if bool(at) == which) for which in (False, True)
    )
    return replace(table, rows=kept), replace(table, rows=back)


def overlap(train: Table, validation: Table) -> list[str]:
    """A note about texts in both parts: metrics on them only measure memorisation."""
    seen = {row.texts for row in train.rows}
    both = sum(row.texts in seen for row in validation.rows)
    return [f"{both} of {len(validation.rows)} validation texts are in the training rows too"] if both else []


def weights_of(problem: Problem, targets: np.ndarray, balanced: bool) -> np.ndarray:
    """The weight of each term of the loss, float32: ``[rows]``, or ``[rows, labels]`` like the targets.

    Balanced: ``rows / (classes * rows of the class)``, so that every class has the same total weight.
    """
    weights: Any = np.ones(targets.shape, np.float32)
    if balanced and problem.kind == SINGLE:
        counts = np.bincount(targets, minlength=len(problem.labels))
        weights = (len(targets) / (len(counts) * np.maximum(counts, 1)))[targets]
    elif balanced and problem.kind == MULTI:
        rows, positive = len(targets), targets.sum(0)
        with_it, without = rows / (2 * np.maximum(positive, 1)), rows / (2 * np.maximum(rows - positive, 1))
        weights = np.where(targets == 1, with_it, without)
    return np.asarray(weights, np.float32)
