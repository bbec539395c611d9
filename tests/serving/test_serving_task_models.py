"""``classify``, ``tag``, ``score`` and ``rerank`` on exported models, compared with the reference and transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rawbert.serving import Client
from rawbert.serving.client import windows
from rawbert.serving.client.entities import AGGREGATIONS
from task_models import TAGS, fine_tuned
from test_serving_entities import pipeline, plain, texts


@contextmanager
def served(model: str, base_path: Path) -> Iterator[Client]:
    from rawbert.serving.server import EmbeddedServer

    with EmbeddedServer(model, base_path) as server, Client(server.address, model=model) as client:
        yield client


def reference_of(source: Path, length: int, pair: bool = False) -> Any:
    """Logits and tokens from the proof's numpy reference."""
    from rawbert.exporter.proof.reference import FolderReference
    from rawbert.exporter.recipe import TokenizerOptions

    return FolderReference(source, length, TokenizerOptions(pair=pair))


def softmax(logits: Any) -> Any:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


def check_entities(client: Client, source: Path, length: int, given: list[str]) -> None:
    from transformers import AutoTokenizer

    tokenizer, reference = AutoTokenizer.from_pretrained(source), reference_of(source, length)
    theirs = pipeline(tokenizer, list(TAGS))
    said, scores = [], []
    for text in given:
        said.append(tokenizer(text, truncation=True, max_length=length, return_offsets_mapping=True,
                              return_special_tokens_mask=True))  # fmt: skip
        tokens = reference.tokenize(text)
        assert tokens.ids == said[-1].input_ids
        scores.append(softmax(reference(tokens.ids, tokens.types)["tag_scores"]))
    assert sum(len(each) for each in scores) > 5 * len(given)
    some = 0
    for aggregation in AGGREGATIONS:
        found = client.tag(given, aggregation=aggregation)  # type: ignore[arg-type]
        for text, its, row, each in zip(given, said, scores, found, strict=True):
            expected = theirs(text, its, row, aggregation)
            assert [(one.label, one.start, one.end) for one in each.entities] == plain(expected), (text, aggregation)
            ours = [one.score for one in each.entities]
            np.testing.assert_allclose(ours, [one["score"] for one in expected], rtol=0, atol=1e-4)
            some += len(expected)
    assert some > 2 * len(given)


def test_entities_of_a_tiny_model(task_models: Path) -> None:
    with served("ner", task_models / "ner") as client:
        check_entities(client, task_models.parent / "sources" / "ner", 64, texts(60))


@pytest.mark.slow
def test_entities_of_minilm(minilm_folder: Path, tmp_path: Path) -> None:
    from exports import exported

    source = fine_tuned(minilm_folder, tmp_path / "model", "TokenClassification", TAGS)
    bundle = exported(source, tmp_path / "export", signatures=("tag", "tokenize"), max_seq_length=64)
    with served("ner", bundle.base_path) as client:
        check_entities(client, source, 64, texts(500))


def test_windows_find_what_a_long_text_has(task_models: Path) -> None:
    """Windows cover every token, with the tags of each window alone."""
    text = "the cat sat on the mat and the dog ran. " * 20
    with served("ner", task_models / "ner") as client:
        (cut,) = client.tag([text])
        (whole,) = client.tag([text], stride=0, aggregation="none", ignore_labels=())
        assert (cut.truncated, whole.truncated) == (True, False)
        assert "".join(each.text for each in whole.entities) == text.replace(" ", "")
        starts = [each.start for each in whole.entities]
        parts = [text[start:end] for (start, end), _ in windows.windows(text.encode(), starts, 62, 0)]
        found = [each for part in client.tag(parts, aggregation="none", ignore_labels=()) for each in part.entities]
    assert len(parts) > 3
    assert [(each.label, each.text) for each in found] == [(each.label, each.text) for each in whole.entities]
    np.testing.assert_allclose([each.score for each in found], [each.score for each in whole.entities], atol=1e-5)


def test_labels_of_a_tiny_model(task_models: Path) -> None:
    given = ["the cat sat on the mat.", "hello", "", "Café 中国 (12) … unwanted", "the dog and " * 80]
    reference = reference_of(task_models.parent / "sources" / "sentiment", 64)
    with served("sentiment", task_models / "sentiment") as client:
        found = client.classify(given)
        (whole,) = client.classify([given[-1]], stride=5)
    names = ["negative", "neutral", "positive"]
    for text, each in zip(given, found, strict=True):
        tokens = reference.tokenize(text)
        scores = softmax(reference(tokens.ids, tokens.types)["scores"])
        assert each.scores == pytest.approx(dict(zip(names, scores.tolist(), strict=True)), abs=1e-5)
        assert (each.label, each.score) == next(iter(each.scores.items()))
    assert sum(whole.scores.values()) == pytest.approx(1, abs=1e-5)
    assert whole.scores != found[-1].scores


def test_the_order_of_a_tiny_cross_encoder(task_models: Path) -> None:
    documents = [text for text in texts(40) if text]
    reference = reference_of(task_models.parent / "sources" / "reranker", 64, pair=True)
    logits = []
    for document in documents:
        tokens = reference.tokenize("the cat sat", document)
        logits.append(float(np.asarray(reference(tokens.ids, tokens.types)["score"]).reshape(())))
    scores = 1 / (1 + np.exp(-np.array(logits)))
    with served("reranker", task_models / "reranker") as client:
        ranked = client.rerank("the cat sat", documents)
        assert client.rerank("the cat sat", []) == []
        assert len(client.rerank("", ["the mat"])) == 1
        pairs = client.score([("the cat sat", document) for document in documents])
    np.testing.assert_allclose(pairs, scores, rtol=0, atol=1e-5)
    assert [each.score for each in ranked] == sorted(pairs.tolist(), reverse=True)
    assert [each.document for each in ranked] == [documents[each.index] for each in ranked]
