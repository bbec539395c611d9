"""Runs on tiny encoders: their folders and exports; served answers equal the evaluated ones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import exported, once
from folders import DATA, tensors_of, tiny
from labelled import QUICK, texts, write_csv, write_jsonl
from rawbert.exporter import ConfigError, DataError, FinetuneConfig, OutputError, UnsupportedModel, finetune, sources
from rawbert.exporter.training import memory

CLASSES = ("animal", "greeting", "motion")


def config_of(folder: Path, rows: list[Any] | Path, **settings: Any) -> FinetuneConfig:
    train = rows if isinstance(rows, Path) else write_csv(folder / "train.csv", rows)
    settings = {"encoder": DATA / "tiny_bert", "output": folder / "run", **QUICK, **settings}
    return FinetuneConfig(train=train, **settings)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory):
    """A run of three classes, and the bundle of its export."""

    def make(scratch: Path):
        run = finetune(config_of(scratch, texts(160)))
        return run, exported(run.folder, scratch)

    return once(tmp_path_factory, "finetuned", make)


def served(bundle: Any, signature: str, columns: dict[str, list[str]]) -> dict[str, np.ndarray]:
    from rawbert.exporter.proof.model import SavedModel

    model = SavedModel(bundle.path)
    answers = model.answer(signature, {name: [text.encode() for text in column] for name, column in columns.items()})
    model.close()
    return dict(answers)


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def test_it_learns_and_its_folder_says_how(classifier: Any):
    run, _ = classifier
    assert run.metrics["macro_f1"] == 1
    assert run.labels == CLASSES
    assert [each["epoch"] for each in run.history] == [1, 2, 3]
    assert run.history[0]["loss"] > run.history[-1]["loss"]
    said = json.loads((run.folder / "run.json").read_text())
    train = run.folder.parent / "train.csv"
    assert said["status"] == "finished"
    assert said["data"]["train"]["sha256"] == hashlib.sha256(train.read_bytes()).hexdigest()
    assert (said["data"]["train"]["rows"], said["data"]["validation"]["rows"]) == (143, 17)
    assert said["settings"]["learning_rate"] == 3e-3
    assert said["settings"]["precision"] in ("float32", "bfloat16")
    assert said["model_sha256"] == hashlib.sha256((run.folder / "model.safetensors").read_bytes()).hexdigest()
    config = json.loads((run.folder / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert (run.folder / "model.safetensors").stat().st_mode == (run.folder / "config.json").stat().st_mode
    assert config["id2label"] == dict(zip("012", CLASSES, strict=True))
    assert not (run.folder / "checkpoints").exists()
    assert list((run.folder / "logs").glob("events.*"))


def test_its_report_is_one_page(classifier: Any):
    run, _ = classifier
    page, report = ((run.folder / f"report.{form}").read_text(encoding="utf-8") for form in ("html", "json"))
    assert json.loads(report)["metrics"] == run.metrics
    for shown in ("macro_f1", "<h2>Confusion matrix</h2><svg", "Calibration", "animal", "None."):
        assert shown in page.replace("\n", "")
    assert "src=" not in page
    assert "href=" not in page


def test_served_answers_are_those_that_were_measured(classifier: Any):
    run, bundle = classifier
    rows = predictions(run.folder)
    answers = served(bundle, "classify", {"text": [row["texts"][0] for row in rows]})
    assert answers["labels"][0].tolist() == [label.encode() for label in CLASSES]
    wanted = [[row["scores"][label] for label in CLASSES] for row in rows]
    np.testing.assert_allclose(answers["scores"], wanted, rtol=0, atol=1e-5)
    assert [label.decode() for label in answers["label"]] == [row["label"] for row in rows]


def test_manifest_and_card_carry_the_run(classifier: Any):
    run, bundle = classifier
    made = bundle.manifest["run"]
    assert made["metrics"] == run.metrics
    assert made["data"]["train"]["sha256"]
    assert made["settings"]["seed"] == 0
    card = (bundle.path / "assets.extra" / "README.md").read_text(encoding="utf-8")
    assert "## Fine-tuning" in card
    assert made["data"]["train"]["sha256"] in card
    assert "macro_f1 | 1.0000" in card


def test_a_run_of_other_weights_is_left_aside(classifier: Any, tmp_path: Path):
    import shutil

    run, _ = classifier
    shutil.copytree(run.folder, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "model_sha256": "0" * 64}))
    checkpoint = sources.load(tmp_path / "run")
    assert checkpoint.run is None
    assert "run.json belongs to other weights than model.safetensors and is ignored" in checkpoint.notes


@pytest.mark.slow
def test_the_same_run_again_is_the_same_to_the_bit(classifier: Any, tmp_path: Path):
    run, _ = classifier
    config = config_of(tmp_path, texts(160))
    again = finetune(config)
    assert (again.folder / "model.safetensors").read_bytes() == (run.folder / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="the run in it is finished; start again with --restart"):
        finetune(config)
    with pytest.raises(OutputError, match=r"another one \(seed is 1, and was 0\)"):
        finetune(replace(config, seed=1))
    other = finetune(replace(config, seed=1, epochs=1, restart=True))
    assert len(other.history) == 1


@pytest.mark.parametrize(
    "family",
    ["mpnet", pytest.param("distilbert", marks=pytest.mark.slow), pytest.param("electra", marks=pytest.mark.slow)],
)
def test_other_families(tmp_path: Path, family: str):
    """The folder contains the trained model: the proof's numpy code gives the scores of the predictions."""
    from fine_tuned import folder_of, probabilities
    from rawbert.exporter.proof.reference import FolderReference

    encoder = folder_of(f"{family}.Sequence.2", tmp_path / "encoder")
    rows = [(text.replace("hello", "mat"), label) for text, label in texts(60)]
    run = finetune(config_of(tmp_path, rows, encoder=encoder, epochs=1))
    reference = FolderReference(run.folder, 64)
    for row in predictions(run.folder):
        tokens = reference.tokenize(*row["texts"])
        scores = probabilities(reference(tokens.ids, tokens.types)["scores"], "softmax")
        np.testing.assert_allclose(scores, [row["scores"][label] for label in CLASSES], rtol=0, atol=1e-5)


def logits_to(reference: Any, row: dict[str, Any]) -> float:
    tokens = reference.tokenize(*row["texts"])
    return float(reference(tokens.ids, tokens.types)["score"].item())


def test_a_hub_encoder(tmp_path: Path):
    """The weights are read, the activation (tanh GELU) is found from the outputs, and a BERT folder is written."""
    from fine_tuned import probabilities
    from rawbert.exporter.proof.reference import FolderReference

    run = finetune(config_of(tmp_path, texts(60), encoder=DATA / "hub_bert", freeze_encoder=True, epochs=1))
    config = json.loads((run.folder / "config.json").read_text())
    assert (config["hidden_act"], config["num_hidden_layers"], config["hidden_size"]) == ("gelu_new", 3, 32)
    before, after = tensors_of(DATA / "tiny_bert"), tensors_of(run.folder)  # the same weights, by its README
    name = "encoder.layer.2.attention.self.query.weight"
    assert (after[f"bert.{name}"] == before[name]).all()
    reference = FolderReference(run.folder, 64)
    for row in predictions(run.folder):
        tokens = reference.tokenize(*row["texts"])
        scores = probabilities(reference(tokens.ids, tokens.types)["scores"], "softmax")
        np.testing.assert_allclose(scores, [row["scores"][label] for label in CLASSES], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def over_a_black_box(tmp_path_factory: pytest.TempPathFactory):
    """A run over a Hub encoder that is not a BERT."""
    from hub_folders import masked, write_encoder

    def make(scratch: Path):
        table = np.random.default_rng(0).normal(size=(99, 8)).astype(np.float32)
        encoder = write_encoder(scratch / "encoder", masked, DATA / "tiny_bert" / "vocab.txt", table=table)
        return finetune(
            config_of(scratch, texts(120), encoder=encoder, learning_rate=0.05, max_seq_length=16, epochs=4)
        )

    return once(tmp_path_factory, "black_box", make)


@pytest.mark.slow
def test_a_hub_encoder_that_cannot_be_rebuilt(over_a_black_box: Any):
    """The run's folder is a model of tf_keras, whose own answers equal the evaluated ones."""
    import tf_keras

    run = over_a_black_box
    assert run.metrics["macro_f1"] > 0.9
    checkpoint = sources.load(run.folder)
    assert (checkpoint.kind, checkpoint.head.labels, checkpoint.max_seq_length) == ("keras", CLASSES, 16)
    assert checkpoint.run["metrics"] == run.metrics
    model = tf_keras.models.load_model(run.folder, compile=False)
    table = model.get_layer("encoder").trainable_weights[0].numpy()
    assert np.abs(table - np.random.default_rng(0).normal(size=(99, 8))).max() > 0.01
    ids = {token: at for at, token in enumerate((DATA / "tiny_bert" / "vocab.txt").read_text().split())}
    kernel, bias = model.get_layer("head").get_weights()
    for row in predictions(run.folder):
        tokens = [ids[word] for word in ["[CLS]", *row["texts"][0].split()[:14], "[SEP]"]]
        scores = np.exp(table[tokens].mean(0) @ kernel + bias)
        wanted = [row["scores"][label] for label in CLASSES]
        np.testing.assert_allclose(scores / scores.sum(), wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_an_albert_of_tf_hub_is_served_as_it_was_measured(tmp_path: Path):
    from hub_albert import unpack

    encoder = unpack(tmp_path / "hub") / "encoder"
    run = finetune(config_of(tmp_path, texts(60), encoder=encoder, max_seq_length=16, epochs=1))
    bundle = exported(run.folder, tmp_path / "out")
    assert bundle.manifest["tokenizer"]["kind"] == "sentencepiece"
    rows = predictions(run.folder)
    answers = served(bundle, "classify", {"text": [row["texts"][0] for row in rows]})
    wanted = [[row["scores"][label] for label in CLASSES] for row in rows]
    np.testing.assert_allclose(answers["scores"], wanted, rtol=0, atol=1e-5)


def test_what_is_refused_over_a_hub_encoder(tmp_path: Path):
    from hub_folders import masked, write_encoder

    encoder = write_encoder(tmp_path / "encoder", masked, DATA / "tiny_bert" / "vocab.txt", table=np.eye(99, dtype="f"))
    numbers = write_csv(tmp_path / "numbers.csv", [(text, at % 2) for at, (text, _) in enumerate(texts(40))])
    for rows, settings, error, message in (
        (texts(40), {"layer_decay": 0.9}, ConfigError, "layer_decay: the layers of .* are not known"),
        (texts(40), {"precision": "bfloat16"}, ConfigError, "precision bfloat16: the layers of .* are not known"),
        (numbers, {"task": "score"}, UnsupportedModel, "only for classes and numbers of single texts"),
    ):
        with pytest.raises(error, match=message):
            finetune(config_of(tmp_path, rows, encoder=encoder, **settings))
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.slow
def test_a_hub_encoder_that_cannot_be_rebuilt_is_served_as_it_was_measured(over_a_black_box: Any, tmp_path: Path):
    run = over_a_black_box
    bundle = exported(run.folder, tmp_path)
    rows = predictions(run.folder)
    answers = served(bundle, "classify", {"text": [row["texts"][0] for row in rows]})
    assert answers["labels"][0].tolist() == [label.encode() for label in CLASSES]
    wanted = [[row["scores"][label] for label in CLASSES] for row in rows]
    np.testing.assert_allclose(answers["scores"], wanted, rtol=0, atol=1e-5)
    assert bundle.manifest["run"]["metrics"] == run.metrics


def test_a_checkpoint_of_google(tmp_path: Path):
    from formats import unpack

    encoder = unpack(tmp_path / "formats") / "google"
    run = finetune(config_of(tmp_path, texts(60), encoder=encoder, freeze_encoder=True, epochs=1))
    checkpoint, written = sources.load(encoder), sources.load(run.folder)
    assert written.tokenizer == checkpoint.tokenizer
    assert replace(written.encoder, has_pooler=checkpoint.encoder.has_pooler) == checkpoint.encoder
    for name in ("embeddings/word", "layer_1/attention/query/kernel", "layer_2/output/layer_norm/gamma"):
        assert (written.weights[name] == checkpoint.weights[name]).all()


def test_several_labels_a_text(tmp_path: Path):
    rows = [{"text": text, "label": [label] if label != "motion" else []} for text, label in texts(120)]
    run = finetune(config_of(tmp_path, write_jsonl(tmp_path / "train.jsonl", rows), class_weights="balanced"))
    assert run.labels == ("animal", "greeting")
    assert run.metrics["micro_f1"] > 0.9
    head = sources.load(run.folder).head
    assert (head.signature, head.activation, head.labels) == ("classify", "sigmoid", run.labels)


@pytest.mark.slow
def test_pairs_are_scored_and_exported(tmp_path: Path):
    one, other = texts(160), texts(160, seed=1)
    rows = [{"text": a, "other": b, "label": int(x == y)} for (a, x), (b, y) in zip(one, other, strict=True)]
    train = write_jsonl(tmp_path / "train.jsonl", rows)
    run = finetune(config_of(tmp_path, train, task="score", text_pair="other", epochs=2, validation_share=0.2))
    assert run.metrics["auc"] is not None
    bundle = exported(run.folder, tmp_path)
    rows = predictions(run.folder)
    answers = served(
        bundle, "score", {name: [row["texts"][at] for row in rows] for at, name in enumerate(("text", "text_pair"))}
    )
    np.testing.assert_allclose(answers["score"], [row["scores"]["score"] for row in rows], rtol=0, atol=1e-5)


def test_numbers(tmp_path: Path):
    rows = [(text, 1000 + 50 * text.split().count("the")) for text, _ in texts(120)]
    run = finetune(config_of(tmp_path, rows, task="score", epochs=4))
    assert run.metrics["rmse"] < np.std([label for _, label in rows])
    head = sources.load(run.folder).head
    assert (head.signature, head.activation) == ("score", "identity")
    from rawbert.exporter.proof.reference import FolderReference

    reference = FolderReference(run.folder, 64)
    for row in predictions(run.folder):
        assert logits_to(reference, row) == pytest.approx(row["scores"]["score"], abs=0.01)


def test_a_frozen_encoder_stays_as_it_is(tmp_path: Path):
    run = finetune(config_of(tmp_path, texts(120), freeze_encoder=True, learning_rate=0.02, epochs=6))
    before, after = tensors_of(DATA / "tiny_bert"), tensors_of(run.folder)
    for name, value in after.items():
        if name.startswith("bert.") and "pooler" not in name:
            assert (value == before[name.removeprefix("bert.")]).all(), name
    assert run.metrics["macro_f1"] > 0.7


def test_what_is_refused_before_training(tmp_path: Path):
    config = config_of(tmp_path, texts(40))
    validation = write_csv(tmp_path / "validation.csv", [("hello", "unseen")])
    with pytest.raises(DataError, match="the training rows never have 'unseen'"):
        finetune(replace(config, validation=validation))
    with pytest.raises(DataError, match="the same file as the training rows"):
        finetune(replace(config, validation=config.train))
    with pytest.raises(ConfigError, match=r"max_seq_length is 65: give at most 64, the positions of"):
        finetune(replace(config, max_seq_length=65))
    assert list((tmp_path / "run").iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(OutputError, match=r"it contains files that are not of a run \(thesis.txt\)"):
        finetune(replace(config, output=tmp_path / "mine", restart=True))
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_tokenizer_that_a_folder_cannot_have(tmp_path: Path):
    from folders import edit

    encoder = tiny(tmp_path / "encoder", "mean")
    edit(encoder / "tokenizer_config.json", do_lower_case=False)
    state = json.loads((encoder / "tokenizer.json").read_text())
    state["normalizer"]["lowercase"] = False
    (encoder / "tokenizer.json").write_text(json.dumps(state))
    (encoder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": True}))
    with pytest.raises(UnsupportedModel, match="settings outside of its tokenizer files"):
        finetune(config_of(tmp_path, texts(40), encoder=encoder))
    assert list((tmp_path / "run").iterdir()) == []


def test_too_little_memory_names_the_batch_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    encoder = sources.load(DATA / "tiny_bert").encoder
    lengths = np.array([64] * 100)
    need = memory.needed(encoder, lengths, 40, frozen=False)
    monkeypatch.setattr(memory, "available", lambda: memory._BASE + need)
    memory.require(encoder, lengths, 40, frozen=False)
    with pytest.raises(ConfigError, match=r"batches of 64 rows of up to 64 tokens take about .*: use --batch-size 40"):
        memory.require(encoder, lengths, 64, frozen=False)
    monkeypatch.setattr(memory, "available", lambda: 1)
    with pytest.raises(ConfigError, match="not even one row fits"):
        memory.require(encoder, lengths, 64, frozen=False)


def test_defaults_by_width_and_rows():
    config = FinetuneConfig(encoder="e", train="t.csv", output="o")
    small, base = config.filled(4000, 384), config.filled(320, 768)
    assert small.learning_rate == pytest.approx(1e-4, rel=0.05)
    assert base.learning_rate == pytest.approx(5e-5, rel=0.05)
    assert [(each.epochs, each.patience) for each in (small, base, config.filled(1280, 768))] == [
        (6, 2),
        (20, 7),
        (10, 4),
    ]
    assert replace(config, freeze_encoder=True).filled(320, 768).learning_rate == 1e-3
    given = replace(config, epochs=3, patience=3, learning_rate=3e-5)
    assert given.filled(320, 384) == given


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "guess"}, "task: 'guess' is unknown"),
        ({"epochs": 0}, "epochs is 0: give 1 or more"),
        ({"learning_rate": 2.0}, "learning_rate is 2.0"),
        ({"validation_share": 0.9}, "at most 0.5"),
        ({"task": "score", "label_separator": ";"}, "for task classify"),
        ({"text_pair": "text"}, "name different columns for text"),
        ({"precision": "float16"}, "precision: 'float16' is unknown"),
        ({"input_format": "xml"}, "input_format: 'xml' is unknown"),
        ({"encoding": "utf-9"}, "encoding: unknown encoding"),
        ({"delimiter": ";;"}, "delimiter is ';;'"),
        ({"train": "-", "validation": "-"}, "both standard input"),
        ({"output": ""}, "output is empty"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        FinetuneConfig(**{"encoder": "e", "train": "t.csv", "output": "o", **settings})
