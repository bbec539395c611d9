"""The trainable model, compared with the numpy reference: logits, gradients by finite differences, optimizer steps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fine_tuned import ids_of
from folders import DATA, tensors_of
from rawbert.exporter import sources
from rawbert.exporter.training.dropout import Dropout, read
from rawbert.exporter.training.labels import REGRESSION, SINGLE, Problem

FAMILIES = ("bert", "distilbert", "electra", "mpnet")
ROWS = (0, 1, 3, 4)
TARGETS = np.array([2, 0, 1, 1])


def checkpoint_of(family: str, tmp_path: Path) -> Any:
    from fine_tuned import folder_of

    return sources.load(folder_of(f"{family}.Sequence.2", tmp_path / "encoder"))


def inputs(family: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = [ids_of(family)[row] for row in ROWS]
    ids, mask = (np.zeros((len(rows), max(map(len, rows))), np.int32) for _ in range(2))
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = row, 1
    return ids, mask, np.zeros_like(ids)


def reference(family: str, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """Logits in float64, from the tensors of a written model.safetensors."""
    from rawbert.exporter.proof.families import TWINS
    from rawbert.exporter.proof.heads import classify

    config = json.loads((DATA / f"tiny_{family}" / "config.json").read_text())
    own = {name.removeprefix(f"{family}."): value for name, value in tensors.items()}
    logits = []
    for row in ROWS:
        outputs = TWINS[family].forward(own, config, np.array(ids_of(family)[row]))
        logits.append(classify.logits(outputs, config, own))
    return np.stack(logits)


def loss_of(logits: np.ndarray) -> float:
    shifted = logits - logits.max(1, keepdims=True)
    return float(-(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))[np.arange(len(ROWS)), TARGETS].mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients(tmp_path: Path, family: str):
    import tensorflow as tf
    from rawbert.exporter.training.folder import write_model
    from rawbert.exporter.training.model import Model
    from safetensors.numpy import load_file

    checkpoint = checkpoint_of(family, tmp_path)
    model = Model(checkpoint.encoder, checkpoint.weights, Dropout(), 3, seed=0)
    model.head["head/output/bias"].assign([0.1, -0.2, 0.3])
    problem = Problem(SINGLE, ("a", "b", "c"))

    def written(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        write_model(tmp_path, model.config, values, problem)
        return {name: value.astype(np.float64) for name, value in load_file(tmp_path / "model.safetensors").items()}

    values = model.values

    @tf.function(autograph=False)
    def step() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits = model.logits(model.vectors(*map(tf.constant, inputs(family))))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(TARGETS, logits))
        return logits, [tf.convert_to_tensor(each) for each in tape.gradient(loss, list(values.values()))]

    logits, gradients = step()
    tensors = written({name: value.numpy() for name, value in values.items()})
    np.testing.assert_allclose(logits, reference(family, tensors), rtol=0, atol=1e-5)

    found = written({name: each.numpy() for name, each in zip(values, gradients, strict=True)})
    assert set(found) == set(tensors)
    rng, epsilon = np.random.default_rng(1), 1e-5
    for name, tensor in tensors.items():
        direction = rng.normal(size=tensor.shape)
        up, down = (
            loss_of(reference(family, {**tensors, name: tensor + sign * epsilon * direction})) for sign in (1, -1)
        )
        slope = (up - down) / (2 * epsilon)
        assert (found[name] * direction).sum() == pytest.approx(slope, rel=2e-3, abs=2e-6), name


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_depends_on_the_seed_alone(tmp_path: Path, family: str):
    import tensorflow as tf
    from rawbert.exporter.training.model import Model

    checkpoint = checkpoint_of(family, tmp_path)
    rates = read(json.loads((DATA / f"tiny_{family}" / "config.json").read_text()), family, tmp_path)
    model = Model(checkpoint.encoder, checkpoint.weights, rates, 3, seed=0)

    @tf.function(autograph=False)
    def logits(seed: tf.Tensor) -> tf.Tensor:
        return model.logits(model.vectors(*map(tf.constant, inputs(family)), seed), seed)

    first, again, other = (logits(tf.constant([7, step])).numpy() for step in (3, 3, 4))
    assert (first == again).all()
    assert np.abs(first - other).max() > 1e-3
    # Dropout scales the kept values: the mean over many seeds is close to the result without dropout.
    mean = np.mean([logits(tf.constant([7, step])).numpy() for step in range(200)], 0)
    plain = model.logits(model.vectors(*map(tf.constant, inputs(family)))).numpy()
    assert np.abs(mean - plain).max() < np.abs(first - plain).max()


def test_bfloat16_is_for_steps_alone(tmp_path: Path):
    """The evaluation equals float32 bit by bit; gradients have dtype float32, and are close to those of float32."""
    import tensorflow as tf
    from rawbert.exporter.training.model import Model

    checkpoint = checkpoint_of("bert", tmp_path)
    ids, mask, types = map(tf.constant, inputs("bert"))
    measured, found = [], []
    for precision in ("float32", "bfloat16"):
        model = Model(checkpoint.encoder, checkpoint.weights, Dropout(0.1, 0.1, 0.1, 0.1), 3, 0, precision)
        values = list(model.values.values())

        @tf.function(autograph=False)
        def step(model: Any = model, values: Any = values) -> list[tf.Tensor]:
            seed = tf.constant([1, 2])
            with tf.GradientTape() as tape:
                logits = model.logits(model.vectors(ids, mask, types, seed), seed)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(TARGETS, logits))
            return [tf.convert_to_tensor(each) for each in tape.gradient(loss, values)]

        found.append([each.numpy() for each in step()])
        measured.append(tf.function(lambda m=model: m.logits(m.vectors(ids, mask, types)))().numpy())
    assert (measured[0] == measured[1]).all()
    assert {each.dtype for each in found[1]} == {np.dtype(np.float32)}
    whole, half = (np.concatenate([each.ravel() for each in gradients]) for gradients in found)
    assert not (whole == half).all()
    assert np.linalg.norm(whole - half) < 0.05 * np.linalg.norm(whole)


def test_precision_of_the_hardware(monkeypatch: pytest.MonkeyPatch):
    from rawbert.exporter.training import precision

    assert precision.resolved("float32") == "float32"
    for known, wanted in ({"avx2"}, "float32"), ({"avx2", "avx512_bf16"}, "bfloat16"), ({"amx_bf16"}, "bfloat16"):
        monkeypatch.setattr(precision, "_instructions", lambda known=known: known)
        assert precision.resolved("auto") == wanted


def test_dropout_of_each_family(tmp_path: Path):
    said = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2, "classifier_dropout": 0.4}
    assert read(said, "bert", tmp_path) == Dropout(0.3, 0.3, 0.2, 0.4, 0)
    assert read({}, "bert", tmp_path) == Dropout(0.1, 0.1, 0.1, 0.1, 0)
    assert read(said, "electra", tmp_path) == Dropout(0.3, 0.3, 0.2, 0.4, 0.4)
    assert read(said, "mpnet", tmp_path) == Dropout(0.3, 0.3, 0.2, 0.3, 0.3)
    assert read({"dropout": 0.3}, "distilbert", tmp_path) == Dropout(0.3, 0, 0.1, 0.2, 0)


def test_adamw_is_that_of_the_paper():
    """Algorithm 2 of Loshchilov & Hutter in numpy, for gradients that make epsilon negligible."""
    import tensorflow as tf
    from rawbert.exporter.training.optimizer import AdamW

    rng = np.random.default_rng(0)
    values = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    variables = {name: tf.Variable(value.astype(np.float32)) for name, value in values.items()}
    own = AdamW(variables, 0.1, 1.0, {"kernel": 0.5, "bias": 1.0})
    moments = {name: [np.zeros_like(value), np.zeros_like(value)] for name, value in values.items()}
    for step in range(5):
        gradients = {name: rng.normal(size=value.shape) for name, value in values.items()}
        rate = 0.01 * (step + 1)
        norm = own.apply([tf.constant(each, tf.float32) for each in gradients.values()], rate, tf.constant(step))
        length = math.sqrt(sum(float((each**2).sum()) for each in gradients.values()))
        assert float(norm) == pytest.approx(length, rel=1e-5)
        for name, gradient in gradients.items():
            m, v = moments[name]
            gradient = gradient / max(1.0, length)
            m[:] = 0.9 * m + 0.1 * gradient
            v[:] = 0.999 * v + 0.001 * gradient**2
            hat = (m / (1 - 0.9 ** (step + 1))) / np.sqrt(v / (1 - 0.999 ** (step + 1)))
            factor = rate * (0.5 if name == "kernel" else 1)
            decay = 0.1 if name == "kernel" else 0
            values[name] = values[name] - factor * (hat + decay * values[name])
            np.testing.assert_allclose(variables[name], values[name], rtol=0, atol=2e-5)


def test_learning_rates():
    from rawbert.exporter.training.optimizer import factors, rate_at

    rates = [rate_at(step, 20, 1.0, 0.2) for step in range(20)]
    np.testing.assert_allclose(rates, [0.25, 0.5, 0.75, 1, *(1 - np.arange(16) / 16)])
    assert rate_at(0, 3, 1.0, 0.1) == 1
    names = ["embeddings/word", "layer_0/output/bias", "layer_1/output/bias", "pooler/kernel", "head/output/kernel"]
    assert list(factors(names, 2, 0.5).values()) == [0.125, 0.25, 0.5, 1, 1]


def test_a_regression_takes_its_scale_into_the_last_layer(tmp_path: Path):
    from rawbert.exporter.training.folder import write_model
    from rawbert.exporter.training.model import Model

    checkpoint = checkpoint_of("bert", tmp_path)
    model = Model(checkpoint.encoder, checkpoint.weights, Dropout(), 1, seed=0)
    problem = Problem(REGRESSION, ("score",), mean=40, scale=5)
    write_model(tmp_path / "encoder", model.config, {name: v.numpy() for name, v in model.values.items()}, problem)

    tensors = {name: each.astype(np.float64) for name, each in tensors_of(tmp_path / "encoder").items()}
    logits = model.logits(model.vectors(*inputs("bert"))).numpy()
    np.testing.assert_allclose(logits * 5 + 40, reference("bert", tensors), rtol=0, atol=1e-4)
