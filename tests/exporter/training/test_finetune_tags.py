"""Taggers on tiny encoders: training, and spans of a server that equal those of the evaluation."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import exported, once
from folders import DATA, tensors_of
from labelled import QUICK, tagged, write_jsonl, write_spans
from rawbert.exporter import DataError, FinetuneConfig, finetune, sources

ROOT = Path(__file__).parents[3]
TAGS = ("O", "B-ANIMAL", "I-ANIMAL", "B-PLACE", "I-PLACE")


def config_of(folder: Path, **settings: Any) -> FinetuneConfig:
    if "train" not in settings:
        settings["train"] = write_spans(folder / "train.jsonl", tagged(160))
    return FinetuneConfig(
        **{"encoder": DATA / "tiny_bert", "output": folder / "run", "task": "tag", **QUICK, **settings}
    )


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory):
    """A run with windows, and the bundle of its export."""

    def make(scratch: Path):
        run = finetune(config_of(scratch, max_seq_length=12, stride=3, epochs=5))
        return run, exported(run.folder, scratch)

    return once(tmp_path_factory, "finetuned_tagger", make)


def test_it_learns_and_its_folder_says_how(tagger: Any):
    run, _ = tagger
    assert run.labels == TAGS
    assert run.metrics["f1"] > 0.9
    assert set(run.metrics["entities"]) == {"ANIMAL", "PLACE"}
    assert run.notes == ()
    config = json.loads((run.folder / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert config["id2label"] == dict(zip("01234", TAGS, strict=True))
    assert "problem_type" not in config
    assert {name for name in tensors_of(run.folder) if not name.startswith("bert.")} == {
        "classifier.weight",
        "classifier.bias",
    }
    assert not [name for name in tensors_of(run.folder) if "pooler" in name]
    said = json.loads((run.folder / "run.json").read_text())
    assert (said["status"], said["problem"]["scheme"], said["settings"]["stride"]) == ("finished", "BIO", 3)


def test_its_report_shows_mistakes_in_the_text(tagger: Any, tmp_path: Path):
    run, _ = tagger
    page, report = ((run.folder / f"report.{form}").read_text(encoding="utf-8") for form in ("html", "json"))
    assert json.loads(report)["metrics"] == run.metrics
    assert "<h2>Kinds of spans</h2>" in page
    assert re.search(r"<td>ANIMAL</td><td class=n>[\d.]+</td>", page)
    from rawbert.exporter.training import report as pages

    mistake = {"at": "line 1", "texts": ["a <b> Ada Lovelace met"], "label": ["PER 'Ada'"], "answer": [],
               "missed": [[6, 9]], "wrong": [[6, 18]]}  # fmt: skip
    assert pages._text(mistake) == (
        'a &lt;b&gt; <span class="missed wrong">Ada</span><span class="wrong"> Lovelace</span> met'
    )
    long = {**mistake, "texts": ["x" * 3000], "missed": [[2000, 2003]], "wrong": []}
    assert re.fullmatch(r'…x{100}<span class="missed">xxx</span>x{297}…', pages._text(long))


def test_served_spans_are_those_that_were_measured(tagger: Any):
    """On every validation row; long ones as windows."""
    from rawbert.serving import Client
    from rawbert.serving.server import EmbeddedServer

    run, bundle = tagger
    rows = predictions(run.folder)
    texts = [row["text"] for row in rows]
    with EmbeddedServer("tagger", bundle.path.parent) as server, Client(server.address, model="tagger") as client:
        answers, cut = client.tag(texts, stride=3), client.tag(texts)
    assert sum(each.truncated for each in cut) > 3
    for row, answer in zip(rows, answers, strict=True):
        found = [(each.label, each.text, each.start, each.end) for each in answer.entities]
        assert found == [(each["label"], each["text"], each["start"], each["end"]) for each in row["entities"]]
        np.testing.assert_allclose(
            [each.score for each in answer.entities], [each["score"] for each in row["entities"]], rtol=0, atol=1e-5
        )
    right = sum(
        (each["start"], each["end"], each["label"]) in {(s["start"], s["end"], s["label"]) for s in row["spans"]}
        for row in rows
        for each in row["entities"]
    )
    assert run.metrics["precision"] == pytest.approx(right / sum(len(row["entities"]) for row in rows))
    assert bundle.manifest["run"]["metrics"] == run.metrics
    card = (bundle.path / "assets.extra" / "README.md").read_text(encoding="utf-8")
    assert "f1 | 0." in card or "f1 | 1.0" in card


@pytest.mark.slow
@pytest.mark.parametrize("family", ["distilbert", "electra", "mpnet"])
def test_other_families(tmp_path: Path, family: str):
    """The folder contains the trained model: the proof's numpy code gives the scores of its spans."""
    from fine_tuned import folder_of, probabilities
    from rawbert.exporter.proof.reference import FolderReference

    rows = []
    for text, _ in tagged(60):
        text = text.replace("hello", "mat")
        words = re.finditer(r"\w+", text)
        rows.append((text, [{"start": each.start(), "end": each.end(), "label": "WORD"} for each in words]))
    train = write_spans(tmp_path / "train.jsonl", rows)
    run = finetune(config_of(tmp_path, train=train, encoder=folder_of(f"{family}.Token.9", tmp_path / "encoder")))
    reference = FolderReference(run.folder, 64)
    compared = 0
    for row in predictions(run.folder):
        tokens = reference.tokenize(row["text"])
        scores = probabilities(reference(tokens.ids, tokens.types)["tag_scores"], "softmax")
        starts = {start: at for at, start in enumerate(tokens.starts) if start >= 0}
        for entity in row["entities"]:
            if entity["end"] == tokens.limits[starts[entity["start"]]]:  # of one token
                score = scores[starts[entity["start"]]].max()
                assert entity["score"] == pytest.approx(score, abs=1e-5)
                compared += 1
    assert compared


@pytest.mark.slow
def test_plain_tags_of_a_frozen_encoder_and_other_aggregations(tmp_path: Path):
    rows = [{"tokens": (words := text.split()), "tags": ["NOUN" if "n" in word else "X" for word in words]}
            for text, _ in tagged(80)]  # fmt: skip
    train = write_jsonl(tmp_path / "train.jsonl", rows)
    settings = {"freeze_encoder": True, "learning_rate": 0.02, "epochs": 6, "aggregation": "first"}
    run = finetune(config_of(tmp_path, train=train, **settings))
    assert run.labels == ("NOUN", "X")
    assert run.metrics["token_accuracy"] > 0.7
    before, after = tensors_of(DATA / "tiny_bert"), tensors_of(run.folder)
    for name, value in after.items():
        if name.startswith("bert."):
            assert (value == before[name.removeprefix("bert.")]).all(), name
    assert sources.load(run.folder).head.labels == run.labels


def test_what_is_refused_before_training(tmp_path: Path):
    config = config_of(tmp_path)
    unseen = write_spans(tmp_path / "v.jsonl", [("the cat", [{"start": 4, "end": 7, "label": "FISH"}])])
    with pytest.raises(DataError, match=r"the training rows never have 'FISH' \(line 1 does\)"):
        finetune(replace(config, validation=unseen))
    parted = write_spans(tmp_path / "p.jsonl", [("the cat", [{"start": 4, "end": 6, "label": "ANIMAL"}])] * 9)
    message = r"begin or end in the middle of a token .*: line \d \(ANIMAL 'ca' from 4: the token is 'cat'\)"
    with pytest.raises(DataError, match=message):
        finetune(replace(config, train=parted))
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.slow
def test_texts_that_are_cut(tmp_path: Path):
    config = config_of(tmp_path)
    parted = write_spans(tmp_path / "p.jsonl", [("the cat", [{"start": 4, "end": 6, "label": "ANIMAL"}])] * 9)
    with pytest.raises(DataError):
        finetune(replace(config, train=parted))
    said: list[str] = []
    run = finetune(replace(config, max_seq_length=12, epochs=1), said.append)  # the refused run is not in its way
    assert "continuing the run in the folder" not in said
    assert re.search(r"\d+ of \d+ training texts cut to 12 tokens; --stride", "\n".join(run.notes))
    assert re.search(r"\d+ validation spans? cut or without a token: counted as missed", "\n".join(run.notes))


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path):
    config = config_of(tmp_path)
    whole = finetune(replace(config, output=tmp_path / "whole"))

    def stop(step: Any) -> None:
        if step.step in (5, 25):
            os.kill(os.getpid(), signal.SIGINT)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt, match="the same command continues from there"):
            finetune(config, progress=stop)
    run = finetune(config)
    assert (run.folder / "model.safetensors").read_bytes() == (whole.folder / "model.safetensors").read_bytes()
    assert (run.history, run.metrics) == (whole.history, whole.metrics)


@pytest.mark.slow
def test_the_example_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = (ROOT / "docs" / "how-to" / "train-a-tagger.md").read_text(encoding="utf-8")
    rows, code = (re.search(rf"```{form}\n(.*?)```", page, re.DOTALL)[1] for form in ("text", "python"))
    (tmp_path / "news.conll").write_text("\n".join([rows] * 10), encoding="utf-8")
    shutil.copytree(DATA / "tiny_bert", tmp_path / "all-MiniLM-L6-v2")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert set(names["run"].metrics["entities"]) == {"LOC", "PER"}
    assert (tmp_path / "models" / "news" / "1" / "saved_model.pb").is_file()


@pytest.mark.slow
def test_from_the_command(tmp_path: Path):
    from click.testing import CliRunner
    from rawbert.serving.cli.app import rawbert

    (tmp_path / "rows").write_text("the DET\ncat NOUN\nsat VERB\n\n" * 20)
    words = ["finetune", str(DATA / "tiny_bert"), "--train", str(tmp_path / "rows"), "--output", str(tmp_path / "run")]
    more = ["--task", "tag", "--epochs", "1", "--batch-size", "4", "--word-column", "1", "--stride", "2", "--json"]
    done = CliRunner().invoke(rawbert, [*words, *more])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["labels"] == ["DET", "NOUN", "VERB"]
    assert {"f1", "precision", "recall", "macro_f1", "entities", "token_accuracy"} <= set(said["metrics"])
    words[-1] += "2"
    done = CliRunner().invoke(rawbert, [*words, "--task", "tag", "--tag-column", "3"])
    assert (done.exit_code, "line 1 has 2 columns ('the DET'); expected 3 at least" in done.output) == (1, True)
