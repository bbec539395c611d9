"""Fine-tuning of RoBERTa, XLM-RoBERTa, CamemBERT and ALBERT: gradients by finite differences, and complete runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from labelled import QUICK, write_csv
from rawbert.exporter import ExportConfig, FinetuneConfig, export, finetune, sources
from rawbert.exporter.training.dropout import Dropout, read
from rawbert.exporter.training.labels import SINGLE, Problem
from tiny_families import FAMILIES, MODELS, batch_of, config_of, folder_of, make

ROWS = [1, 2, 3, 4]
TARGETS = np.array([2, 0, 1, 1])


def reference(name: str, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """Logits in float64, from the tensors of a written model.safetensors."""
    from rawbert.exporter.proof.families import twin_of
    from rawbert.exporter.proof.heads import classify

    config = config_of(name)
    own = {key.removeprefix("roberta.").removeprefix("albert."): value for key, value in tensors.items()}
    ids = make.ids_of(config)
    outputs = [twin_of(config).forward(own, config, ids[row]) for row in ROWS]
    return np.stack([classify.logits(each, config, own) for each in outputs])


def loss_of(logits: np.ndarray) -> float:
    shifted = logits - logits.max(1, keepdims=True)
    return float(-(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))[np.arange(len(ROWS)), TARGETS].mean())


@pytest.mark.parametrize(
    "name", ["albert.groups", *(pytest.param(name, marks=pytest.mark.slow) for name in (*FAMILIES, "roberta.padding"))]
)
def test_logits_and_gradients(tmp_path: Path, name: str):
    import tensorflow as tf
    from rawbert.exporter.training.folder import write_model
    from rawbert.exporter.training.model import Model
    from safetensors.numpy import load_file

    checkpoint = sources.load(folder_of(name, tmp_path / "encoder"))
    model = Model(checkpoint.encoder, checkpoint.weights, Dropout(), 3, seed=0)
    model.head["head/output/bias"].assign([0.1, -0.2, 0.3])

    def written(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        write_model(tmp_path, model.config, values, Problem(SINGLE, ("a", "b", "c")))
        return {key: value.astype(np.float64) for key, value in load_file(tmp_path / "model.safetensors").items()}

    values, (ids, mask, _) = model.values, batch_of(name, ROWS)

    @tf.function(autograph=False)
    def step() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits = model.logits(model.vectors(*map(tf.constant, (ids, mask, np.zeros_like(ids)))))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(TARGETS, logits))
        return logits, [tf.convert_to_tensor(each) for each in tape.gradient(loss, list(values.values()))]

    logits, gradients = step()
    tensors = written({key: value.numpy() for key, value in values.items()})
    usual = set(MODELS[f"{name.partition('.')[0]}.Sequence.3"]["tensors"])  # which has one group of layers
    assert {key for key in tensors if "_groups.1." not in key} == usual
    np.testing.assert_allclose(logits, reference(name, tensors), rtol=0, atol=1e-5)

    found = written({key: each.numpy() for key, each in zip(values, gradients, strict=True)})
    assert set(found) == set(tensors)
    rng, epsilon = np.random.default_rng(1), 1e-5
    for key, tensor in tensors.items():
        direction = rng.normal(size=tensor.shape)
        up, down = (loss_of(reference(name, {**tensors, key: tensor + sign * epsilon * direction})) for sign in (1, -1))
        slope = (up - down) / (2 * epsilon)
        assert (found[key] * direction).sum() == pytest.approx(slope, rel=2e-3, abs=2e-6), key


def test_layers_that_share_weights_have_dropout_of_their_own(tmp_path: Path):
    import tensorflow as tf
    from rawbert.exporter.training.model import Model

    checkpoint = sources.load(folder_of("albert", tmp_path / "encoder"))
    model = Model(checkpoint.encoder, checkpoint.weights, Dropout(0.1, 0.1, 0.1), 3, seed=0)
    model.encoder._weights, model.encoder._seed = model.encoder._made(tf.constant([7, 3])), tf.constant([7, 3])
    layers = [model.encoder._of_layer(index) for index in range(3)]
    assert len({tuple(layer["seed"].numpy().tolist()) for layer in layers}) == 3
    assert all(layer["intermediate/kernel"] is layers[0]["intermediate/kernel"] for layer in layers)


def test_dropout_of_each_family(tmp_path: Path):
    said = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2, "classifier_dropout": 0.4}
    for family in ("roberta", "xlm-roberta", "camembert"):
        assert read(said, family, tmp_path) == Dropout(0.3, 0.3, 0.2, 0.4, 0.4)
        assert read({**said, "classifier_dropout": None}, family, tmp_path) == Dropout(0.3, 0.3, 0.2, 0.3, 0.3)
    # No dropout after its feed-forward layers, and other defaults.
    assert read({}, "albert", tmp_path) == Dropout(0, 0, 0, 0.1, 0, output=0)
    said["classifier_dropout_prob"] = 0.4
    assert read(said, "albert", tmp_path) == Dropout(0.3, 0.3, 0.2, 0.4, 0, output=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_run_and_its_export(tmp_path: Path, name: str):
    rows = [
        (f"{'the' if at % 2 else 'z'} {'ab'[at % 3 % 2]} {'cdef'[at % 4]}", ("x", "y")[at % 2]) for at in range(120)
    ]
    train = write_csv(tmp_path / "train.csv", rows)
    encoder = folder_of(name, tmp_path / "encoder")
    run = finetune(FinetuneConfig(encoder=encoder, train=train, output=tmp_path / "run", **QUICK))
    assert run.metrics["macro_f1"] > 0.9
    config = json.loads((run.folder / "config.json").read_text())
    kind = config_of(f"{name}.Sequence.3")["architectures"]
    assert (config["model_type"], config["architectures"]) == (name, kind)
    bundle = export(ExportConfig(run.folder, tmp_path / "models" / "m"))
    assert bundle.manifest["run"]["metrics"] == run.metrics
    assert "classify" in bundle.signatures
