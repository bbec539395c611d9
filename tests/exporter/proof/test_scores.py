"""Scores are compared as logits, however close to 0 or 1; labels are compared with the scores of the same answer."""

from __future__ import annotations

import numpy as np
import pytest
from fine_tuned import probabilities
from rawbert.exporter.proof import scores

RNG = np.random.default_rng(7)
#: Logits as models have them, and far beyond.
LOGITS = {scale: RNG.normal(0, scale, (200, 5)) for scale in (0.1, 1, 8, 40)}


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "identity"])
@pytest.mark.parametrize("scale", LOGITS)
def test_rounding_is_no_difference(activation: str, scale: float):
    import tensorflow as tf

    run = {"softmax": tf.nn.softmax, "sigmoid": tf.math.sigmoid, "identity": tf.identity}[activation]
    logits = LOGITS[scale].astype(np.float32)
    off, apart = scores.off(run(logits).numpy(), logits, activation)
    assert off <= 1e-7
    assert apart <= 1e-6
    # Logits that differ by less than the tolerance, like an encoder's vectors.
    moved = logits + RNG.uniform(-5e-6, 5e-6, logits.shape) * max(1, scale)
    assert scores.off(run(logits).numpy(), moved, activation)[0] <= 1e-5 * max(1, scale)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("logit", [-30.0, -11.0, -3.0, 0.0, 3.0])
def test_a_probability_near_zero_hides_no_fault(activation: str, logit: float):
    """A reranker's usual answer: at a logit of -11 a difference of 1 moves the probability by 3e-5."""
    wanted = np.array([logit, 0.0 if activation == "softmax" else logit])
    got = probabilities(wanted + np.array([0.01, 0]), activation).astype(np.float32)
    off, _ = scores.off(got, wanted, activation)
    assert 1e-3 < off <= 0.0101


def test_where_float32_says_nothing_nothing_is_refused():
    assert scores.off(np.float32([1.0]), np.array([40.0]), "sigmoid")[0] == 0
    assert scores.off(np.float32([0.0]), np.array([-120.0]), "sigmoid")[0] == 0
    assert scores.off(np.float32([1.0, 0.0]), np.array([0.0, -120.0]), "softmax")[0] == 0
    assert scores.off(np.float32([0.0]), np.array([-20.0]), "sigmoid")[0] > 10


@pytest.mark.parametrize("wrong", [[np.nan, 0.5], [1.5, 0.5], [-0.1, 1.1], [np.inf, 0]])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_what_is_no_probability_is_refused(wrong: list[float], activation: str):
    off, _ = scores.off(np.float32(wrong), np.zeros(2), activation)
    assert not off <= 1e9
    assert not scores.off(np.float32([np.nan]), np.zeros(1), "identity")[0] <= 1e9


def test_a_label_may_be_any_of_equal_scores_and_no_other():
    names = ("a", "b", "ç")
    assert scores.highest(np.float32([0.2, 0.5, 0.3]), names) == {b"b"}
    assert scores.highest(np.float32([0.4, 0.2, 0.4]), names) == {b"a", "ç".encode()}
    assert scores.highest(np.float32([0.4, 0.4 - 3e-8, 0.2]), names) == {b"a"}
    assert scores.highest(np.float32([np.nan, 1, 0]), names) == set()
