"""Metrics compared with results by hand, and with definitions that share no code with them."""

from __future__ import annotations

import numpy as np
import pytest
from rawbert.exporter.training import labels, metrics
from rawbert.exporter.training.labels import Problem


def test_classes():
    problem = Problem(labels.SINGLE, ("a", "b", "c"))
    scores = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.1, 0.7, 0.2]])
    found = metrics.measure(problem, scores, np.array([0, 1, 1, 1]))
    assert found["accuracy"] == 0.75
    assert found["confusion"] == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert found["classes"]["a"] == {"precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3), "rows": 1}
    b = {"precision": 1, "recall": pytest.approx(2 / 3), "f1": pytest.approx(0.8), "rows": 3}
    assert found["classes"]["b"] == b
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)  # c is neither there nor found
    # confidences .9 .8 .6 .7, right in 1 1 0 1
    assert found["calibration_error"] == pytest.approx((0.1 + 0.2 + 0.6 + 0.3) / 4)


def test_several_labels():
    problem = Problem(labels.MULTI, ("a", "b"))
    scores = np.array([[0.9, 0.2], [0.4, 0.5], [0.7, 0.8]])
    found = metrics.measure(problem, scores, np.array([[1, 0], [1, 1], [0, 1]]))
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["micro_f1"] == pytest.approx(2 * 3 / (4 + 4))
    assert found["macro_f1"] == pytest.approx((0.5 + 1) / 2)


def test_ranking_by_all_pairs():
    rng = np.random.default_rng(0)
    score, true = rng.integers(0, 20, 60) / 20, rng.random(60) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in score[true] for b in score[~true]]
    assert metrics.auc(score, true) == pytest.approx(np.mean(pairs))
    # average precision: the sum over thresholds of precision times the gain in recall
    total, recall = 0.0, 0.0
    for threshold in sorted(set(score.tolist()), reverse=True):
        taken = score >= threshold
        total += true[taken].mean() * (true[taken].sum() / true.sum() - recall)
        recall = true[taken].sum() / true.sum()
    assert metrics.average_precision(score, true) == pytest.approx(total)
    assert metrics.auc(score, np.ones(60, bool)) is None


def test_numbers():
    problem = Problem(labels.REGRESSION, ("score",), mean=10, scale=2)
    scores = metrics.scores_of(problem, np.array([[0], [1], [2.0]], np.float32))
    assert scores[:, 0].tolist() == [10, 12, 14]
    found = metrics.measure(problem, scores, np.array([[10], [12], [20]]))
    assert found["rmse"] == pytest.approx(np.sqrt(36 / 3))
    assert found["mae"] == 2
    assert found["r2"] == pytest.approx(1 - 36 / 56)
    assert found["spearman"] == pytest.approx(1)
    assert metrics.ranks(np.array([5, 1, 5, 9])).tolist() == [2.5, 1, 2.5, 4]


def test_scores_are_those_of_the_served_heads():
    logits = np.array([[1, 2], [800, -800]], np.float32)
    soft = metrics.scores_of(Problem(labels.SINGLE, ("a", "b")), logits)
    np.testing.assert_allclose(soft, [[1 / (1 + np.e), np.e / (1 + np.e)], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(metrics.scores_of(Problem(labels.MULTI, ("a", "b")), logits)[1], [1, 0], atol=1e-12)
