"""The routes of text-embeddings-inference, Cohere and Jina."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import task_rules
import toy_models

DOCUMENTS = ["a bad dog", "the good cat sat", "nothing", "good"]
QUERY = "good cat"
SCORES = [float(np.float32(task_rules.pair_score(QUERY.encode(), text.encode()))) for text in DOCUMENTS]
ORDER = sorted(range(4), key=lambda at: -SCORES[at])


@pytest.fixture(scope="module")
def logits(backend: Any) -> Iterator[Any]:
    """A gateway that treats the scores of ``tasks`` as logits."""
    from fastapi.testclient import TestClient
    from rawbert.serving.gateway import create_app

    with TestClient(create_app(backend.address, models=["tasks"], logits=["tasks"])) as client:
        yield client


def sent(http: Any, path: str, **body: Any) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", ["/embed", "/", "/models/text/embed", "/models/stable/embed"])
def test_embed(http: Any, path: str) -> None:
    texts = ["plain strings", "日本"]
    expected = np.stack([toy_models.embedding(text.encode()) for text in texts]).astype(np.float64)
    assert np.array_equal(sent(http, path, inputs=texts, normalize=False), expected)
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(sent(http, path, inputs=texts), unit, rtol=1e-6)
    assert sent(http, path, inputs=texts[0], normalize=False) == expected[:1].tolist()


def test_texts_are_cut_unless_that_is_refused(backend: Any, http: Any) -> None:
    long = "x" * 50
    before = len(backend.sizes)
    assert len(sent(http, "/embed", inputs=["a", long])) == 2
    assert len(sent(http, "/embed", inputs=["a", long], truncate=True)) == 2
    assert len(backend.sizes) == before + 2  # Tokens are only counted for answers that need the count.
    assert len(sent(http, "/embed", inputs=["a", "b"], truncate=False, truncation_direction="Left")) == 2
    for more in ({"truncate": False}, {"truncate": True, "truncation_direction": "left"}):
        answer = http.post("/embed", json={"inputs": ["a", long], **more})
        assert (answer.status_code, answer.json()["error_type"]) == (422, "Validation")
        assert "inputs[1] has 52 tokens" in answer.json()["error"]


def test_rerank(http: Any) -> None:
    found = sent(http, "/rerank", query=QUERY, texts=DOCUMENTS, return_text=True)
    assert found == [{"index": at, "text": DOCUMENTS[at], "score": SCORES[at]} for at in ORDER]
    assert sent(http, "/models/tasks/rerank", query=QUERY, texts=DOCUMENTS)[0] == {
        "index": ORDER[0],
        "score": SCORES[ORDER[0]],
    }


def test_raw_scores(http: Any, logits: Any) -> None:
    raw = sent(logits, "/rerank", query=QUERY, texts=DOCUMENTS, raw_scores=True)
    assert [each["score"] for each in raw] == [SCORES[at] for at in ORDER]
    made = sent(logits, "/rerank", query=QUERY, texts=DOCUMENTS)
    assert [each["index"] for each in made] == ORDER
    np.testing.assert_allclose([each["score"] for each in made], [1 / (1 + np.exp(-SCORES[at])) for at in ORDER])
    labels = {each["label"]: each["score"] for each in sent(logits, "/predict", inputs="good good bad")}
    powers = np.exp([float(score) for score in task_rules.label_scores(b"good good bad")])
    np.testing.assert_allclose([labels[name] for name in task_rules.LABELS], powers / powers.sum(), rtol=1e-6)
    answer = http.post("/rerank", json={"query": "a", "texts": ["b"], "raw_scores": True})
    assert answer.status_code == 422
    assert "--logits" in answer.json()["error"]


def test_predict(http: Any) -> None:
    scores = dict(zip(task_rules.LABELS, map(float, task_rules.label_scores(b"good good bad")), strict=True))
    ordered = [{"score": scores[name], "label": name} for name in sorted(scores, key=lambda name: -scores[name])]
    assert sent(http, "/predict", inputs="good good bad") == ordered
    assert sent(http, "/predict", inputs=["good good bad"]) == ordered
    assert sent(http, "/predict", inputs=[["good good bad"], ["bad"]])[0] == ordered
    pair = sent(http, "/predict", inputs=["good good", "bad"])
    assert isinstance(pair[0], dict)
    assert sent(http, "/predict", inputs=[["good good", "bad"]]) == [pair]


def test_tokenize(http: Any) -> None:
    found = sent(http, "/models/text/tokenize", inputs=["ab", "日"])
    special = {"text": "", "special": True, "start": None, "stop": None}
    assert found[0] == [
        {"id": toy_models.FIRST, **special},
        {"id": ord("a") + toy_models.OFFSET, "text": "a", "special": False, "start": 0, "stop": 1},
        {"id": ord("b") + toy_models.OFFSET, "text": "b", "special": False, "start": 1, "stop": 2},
        {"id": toy_models.LAST, **special},
    ]
    words = sent(http, "/models/tasks/tokenize", inputs="Ünïcode 日本 ok", add_special_tokens=False)[0]
    assert ["Ünïcode 日本 ok"[each["start"] : each["stop"]] for each in words] == [each["text"] for each in words]
    assert "".join(each["text"] for each in words) == "Ünïcode日本ok"


def test_info(http: Any) -> None:
    found = http.get("/info").json()
    assert (found["model_id"], found["model_sha"], found["model_type"]) == ("text", "3", {"embedding": {}})
    assert http.get("/models/tasks/info").json()["model_type"] == {"classifier": {}}


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/embed", {"inputs": []}, 400, "Empty"),
        ("/embed", {"inputs": ["a"] * 2049}, 413, "Validation"),
        ("/embed", {"inputs": [1, 2]}, 422, "Validation"),
        ("/embed", {"inputs": "a", "truncate": "yes"}, 422, "Validation"),
        ("/embed", {"inputs": "a", "normalize": 1}, 422, "Validation"),
        ("/rerank", {"query": "a", "texts": "b"}, 422, "Validation"),
        ("/embed", {}, 422, "Validation"),
        ("/embed", {"inputs": "a", "prompt_name": "query"}, 422, "Validation"),
        ("/embed", {"inputs": "a", "dimensions": 9}, 422, "Validation"),
        ("/models/tasks/embed", {"inputs": "a"}, 424, "Backend"),
        ("/models/nope/embed", {"inputs": "a"}, 404, "Validation"),
        ("/tokenize", {"inputs": "a"}, 422, "Validation"),  # The gateway has two models.
        ("/rerank", {"query": "a", "texts": []}, 400, "Empty"),
        ("/rerank", {"query": ["a"], "texts": ["b"]}, 422, "Validation"),
        ("/rerank", {"query": "a", "documents": ["b"]}, 422, "Validation"),  # The error names /v1/rerank.
        ("/models/text/rerank", {"query": "a", "texts": ["b"]}, 424, "Backend"),
        ("/predict", {"inputs": ["a", "b", "c"]}, 422, "Validation"),
        ("/predict", {"inputs": []}, 422, "Validation"),
        ("/predict", {"inputs": [["a"], ["b", "c"]]}, 422, "Validation"),
        ("/predict", {"inputs": ["a", "\ud800"]}, 422, "Validation"),
        ("/nope", {}, 404, "Validation"),
    ],
)
def test_wrong_requests(http: Any, path: str, body: dict[str, Any], status: int, kind: str) -> None:
    answer = http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error_type"]) == (status, kind), answer.text
    assert set(answer.json()) == {"error", "error_type"}


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_cohere_and_jina_rerank(http: Any, path: str) -> None:
    found = sent(http, path, model="tasks", query=QUERY, documents=DOCUMENTS)
    assert found["results"] == [{"index": at, "relevance_score": SCORES[at]} for at in ORDER]
    assert found["model"] == "tasks"
    # In this model, the tokens of a pair are those of its first text.
    assert found["usage"]["total_tokens"] == len(DOCUMENTS) * (len(task_rules.pieces(QUERY.encode())) + 2)
    again = sent(http, path, query=QUERY, documents=DOCUMENTS, top_n=None, return_documents=None)
    assert again["results"] == found["results"]
    objects = [{"text": each} for each in DOCUMENTS]
    best = sent(http, path, query=QUERY, documents=objects, top_n=2, return_documents=True)
    assert best["results"] == [
        {"index": at, "relevance_score": SCORES[at], "document": {"text": DOCUMENTS[at]}} for at in ORDER[:2]
    ]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": "a", "documents": []}, "documents"),
        ({"query": "a", "documents": "b"}, "documents"),
        ({"query": "a", "documents": [{"title": "b"}]}, "documents"),
        ({"query": "a"}, "documents"),
        ({"documents": ["a"]}, "query"),
        ({"query": "a", "documents": ["b"], "top_n": 0}, "top_n"),
        ({"query": "a", "documents": ["b"], "model": "text"}, "model"),
        ({"query": "a", "documents": ["b"], "rank_fields": ["title", "text"]}, "rank_fields"),
    ],
)
def test_wrong_rerank_requests(http: Any, body: dict[str, Any], param: str) -> None:
    answer = http.post("/v1/rerank", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
