"""The problem in labels, the split of rows, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rawbert.exporter import DataError
from rawbert.exporter.training import labels
from rawbert.exporter.training.data import Row, Table


def table(*values: Any) -> Table:
    rows = tuple(Row((f"text {at}",), value, f"line {at + 2}") for at, value in enumerate(values))
    return Table(Path("/rows.csv"), rows, "", 0)


@pytest.mark.parametrize(
    ("task", "values", "kind", "names", "targets"),
    [
        ("classify", ["b", "a", "b"], labels.SINGLE, ("a", "b"), [1, 0, 1]),
        ("classify", ["10", "9", "10"], labels.SINGLE, ("9", "10"), [1, 0, 1]),
        ("classify", [True, False], labels.SINGLE, ("false", "true"), [1, 0]),
        ("classify", [["a", "b"], [], ["b", "b"]], labels.MULTI, ("a", "b"), [[1, 1], [0, 0], [0, 1]]),
        ("score", ["0", "1", "1"], labels.RELEVANCE, ("score",), [[0], [1], [1]]),
        ("score", ["0.5", "3"], labels.REGRESSION, ("score",), [[0.5], [3]]),
    ],
)
def test_problems(task: str, values: list[Any], kind: str, names: tuple[str, ...], targets: list[Any]):
    rows = table(*values)
    problem, _ = labels.find(rows, task)
    assert (problem.kind, problem.labels) == (kind, names)
    assert problem.targets(rows).tolist() == targets
    if kind == labels.REGRESSION:
        assert (problem.mean, problem.scale) == (1.75, 1.25)


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        ("classify", ["a", "a"], "every row has the label 'a'; add rows of another class"),
        ("classify", ["0.5", "1.25"], r"numbers with fractions \('0.5' in line 2\), but the task needs classes"),
        ("classify", [1.0, 2.0], "numbers with fractions"),
        ("classify", [f"id {n}" for n in range(60)], "60 different labels in 60 rows"),
        ("classify", [["a"], "b"], "line 3: the label is 'b'; expected a list of labels"),
        ("classify", [["a"], ["a"]], "every row has the same labels"),
        ("classify", [[], []], "no row has a label"),
        ("classify", [[{"a": 1}], ["b"]], "not the name of a label"),
        ("score", ["1", "good"], "line 3: the label is 'good', but task score needs a number"),
        ("score", ["2", "2"], "every row has the label '2'; add rows with other labels"),
    ],
)
def test_what_is_refused(task: str, values: list[Any], message: str):
    with pytest.raises(DataError, match=message):
        labels.find(table(*values), task)


def test_validation_labels_that_training_never_saw():
    problem, _ = labels.find(table("a", "b"), "classify")
    with pytest.raises(DataError, match=r"the training rows never have 'c' \(line 3 does\)"):
        problem.targets(table("a", "c"))
    problem, _ = labels.find(table("0", "1"), "score")
    with pytest.raises(DataError, match=r"line 2: the label is '0\.5', but training rows have 0 and 1; correct it"):
        problem.targets(table("0.5", "1"))


def test_what_a_user_is_told():
    _, notes = labels.find(table(*["Spam"] * 9, *["spam "] * 9, *["ham"] * 9, "rare"), "classify")
    assert notes == [
        "labels that differ only in case or space count as different labels: 'Spam', 'spam '",
        "labels with fewer than 5 rows are hardly learned: 'rare'",
    ]


def test_rows_are_held_back_by_class():
    rows = table(*["a"] * 80, *["b"] * 20, "c")
    problem, _ = labels.find(rows, "classify")
    train, held = labels.hold_back(rows, problem, 0.1, seed=3)
    assert sorted(train.rows + held.rows) == sorted(rows.rows)
    assert [sum(row.label == label for row in held.rows) for label in "abc"] == [8, 2, 0]
    assert labels.hold_back(rows, problem, 0.1, seed=3) == (train, held)
    assert labels.hold_back(rows, problem, 0.1, seed=4) != (train, held)
    with pytest.raises(DataError, match="too few rows to hold some back"):
        labels.hold_back(table("a", "b"), problem, 0.1, seed=0)


def test_overlap():
    assert labels.overlap(table("a", "b"), table("a")) == ["1 of 1 validation texts are in the training rows too"]


def test_balanced_weights_give_each_class_the_same():
    problem, _ = labels.find(table("a", "b"), "classify")
    weights = labels.weights_of(problem, np.array([0, 0, 0, 1]), balanced=True)
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2])
    many, _ = labels.find(table(["a"], ["b"]), "classify")
    targets = np.array([[1, 0], [0, 0], [0, 0], [0, 1]], np.float32)
    weights = labels.weights_of(many, targets, balanced=True)
    np.testing.assert_allclose((weights * targets).sum(0), [2, 2])
    np.testing.assert_allclose((weights * (1 - targets)).sum(0), [2, 2])
