"""Training of families unlike BERT: PyTorch's logits, gradients by finite differences, the written folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from random_encoders import RandomModel, padded
from rawbert.exporter import sources
from rawbert.exporter.training.dropout import Dropout, read
from rawbert.exporter.training.labels import SINGLE, Problem

TARGETS = [0, 2, 1, 1]


@pytest.mark.parametrize(
    "name",
    [
        "modernbert.biases",
        pytest.param("modernbert.base", marks=pytest.mark.slow),
        pytest.param("deberta-v2.v2_xlarge", marks=pytest.mark.slow),
        pytest.param("deberta-v2.own_projections", marks=pytest.mark.slow),
        pytest.param("nomic_bert.base", marks=pytest.mark.slow),
    ],
)
def test_logits_gradients_and_the_written_folder(tmp_path: Path, name: str):
    import tensorflow as tf
    from rawbert.exporter.proof.families import twin_of
    from rawbert.exporter.proof.heads import classify
    from rawbert.exporter.training.folder import write_model
    from rawbert.exporter.training.model import Model
    from safetensors.numpy import load_file

    random = RandomModel(name)
    folder = random.folder(tmp_path / "source", "SequenceClassification")
    checkpoint = sources.load(folder)
    rows = [2, 9, 5, 11][: len(TARGETS)]
    ids, mask = padded([random.texts[row % len(random.texts)] for row in rows])
    types, _ = padded([random.types[row % len(random.texts)] for row in rows])
    model = Model(checkpoint.encoder, checkpoint.weights, Dropout(), 3, seed=0, stated=random.config)
    head = {"head/dense": "pooler.dense" if "deberta" in name else "head.dense", "head/layer_norm": "head.norm"}
    head |= {"head/output": "classifier"}
    for key, variable in model.head.items():
        stem, leaf = key.rsplit("/", 1)
        if stem != "pooler":
            leaf = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(leaf, leaf)
            value = random.tensors[f"{head[stem]}.{leaf}"]
            variable.assign(value.T if key.endswith("kernel") else value)
    values = model.values

    @tf.function(autograph=False)
    def step() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits = model.logits(model.vectors(tf.constant(ids), tf.constant(mask), tf.constant(types)))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(TARGETS, logits))
        return logits, [tf.convert_to_tensor(each) for each in tape.gradient(loss, list(values.values()))]

    logits, gradients = step()
    wanted = random.classify[[row % len(random.texts) for row in rows]]
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5)

    def written(of: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        write_model(tmp_path, model.config, of, Problem(SINGLE, ("a", "b", "c")))
        return {key: each.astype(np.float64) for key, each in load_file(tmp_path / "model.safetensors").items()}

    tensors = written({key: value.numpy() for key, value in values.items()})
    assert set(tensors) == set(random.tensors)
    slopes = written({key: each.numpy() for key, each in zip(values, gradients, strict=True)})
    prefix = next(key for key in tensors if "word_embeddings" in key or "tok_embeddings" in key).split("embeddings.")[0]

    def loss_of(of: dict[str, np.ndarray]) -> float:
        own, losses = {key.removeprefix(prefix): value for key, value in of.items()}, []
        for row, target in zip(rows, TARGETS, strict=True):
            at = row % len(random.texts)
            outputs = twin_of(random.config).forward(own, random.config, random.texts[at], random.types[at])
            found = classify.logits(outputs, random.config, own)
            losses.append(np.log(np.exp(found - found.max()).sum()) - found[target] + found.max())
        return float(np.mean(losses))

    rng, epsilon = np.random.default_rng(1), 1e-5
    for key, tensor in tensors.items():
        direction = rng.normal(size=tensor.shape)
        up, down = (loss_of({**tensors, key: tensor + sign * epsilon * direction}) for sign in (1, -1))
        by_hand = (up - down) / (2 * epsilon)
        assert float((slopes[key] * direction).sum()) == pytest.approx(by_hand, rel=2e-3, abs=2e-6), key


def test_dropout_is_that_of_transformers():
    path = Path("config.json")
    said = {"attention_dropout": 0.1, "mlp_dropout": 0.2, "embedding_dropout": 0.3, "classifier_dropout": 0.4}
    assert read(said, "modernbert", path) == Dropout(0.3, 0.1, 0.1, 0.4, 0.0, output=0.0, inner=0.2)
    assert read({}, "modernbert", path) == Dropout(output=0.0)
    assert read({"cls_dropout": 0.15}, "deberta-v2", path) == Dropout(0.1, 0.1, 0.1, 0.15, 0.0)
    assert read({}, "nomic_bert", path) == Dropout(0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["modernbert.biases", "deberta-v2.v3_small", "nomic_bert.base"])
def test_a_fine_tuned_folder_is_exported(tmp_path: Path, name: str):
    from rawbert.exporter import ExportConfig, export
    from rawbert.exporter.training.config import FinetuneConfig
    from rawbert.exporter.training.finetune import finetune

    source = RandomModel(name).folder(tmp_path / "source", architectures=None)
    rows = [{"text": f"the {word} sat", "label": word} for word in ("cat", "dog")] * 8
    for part in ("train", "validation"):
        lines = [json.dumps({**row, "text": f"{row['text']} {part} {at}"}) for at, row in enumerate(rows)]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(lines))
    config = FinetuneConfig(
        source, tmp_path / "train.jsonl", tmp_path / "run", validation=tmp_path / "validation.jsonl", epochs=2
    )
    assert finetune(config).labels == ("cat", "dog")
    bundle = export(ExportConfig(tmp_path / "run", tmp_path / "models"))
    assert "classify" in bundle.manifest["signatures"]
