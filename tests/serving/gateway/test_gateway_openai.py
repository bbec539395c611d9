"""OpenAI's routes: answers and errors."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
import toy_models

TEXTS = ["plain strings", "", "Überlänge, weit über das hinaus, was es nimmt", "日本"]
VECTORS = np.stack([toy_models.embedding(text.encode()) for text in TEXTS])


def post(http: Any, **body: Any) -> Any:
    return http.post("/v1/embeddings", json=body)


def vectors(answer: Any) -> np.ndarray:
    """The vectors of an answer with floats, with all bits of their float32 values."""
    assert answer.status_code == 200, answer.text
    return np.array([each["embedding"] for each in answer.json()["data"]], np.float64)


def test_vectors_are_the_models_own_to_the_bit(http: Any) -> None:
    answer = post(http, input=TEXTS, model="text")
    found = answer.json()
    assert np.array_equal(vectors(answer), VECTORS.astype(np.float64))
    assert [each["index"] for each in found["data"]] == list(range(len(TEXTS)))
    assert {each["object"] for each in found["data"]} == {"embedding"}
    assert (found["object"], found["model"]) == ("list", "text")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-rawbert-model-version"] == "3"


def test_base64_is_little_endian_float32(http: Any) -> None:
    data = post(http, input=TEXTS, model="text", encoding_format="base64").json()["data"]
    assert [base64.b64decode(each["embedding"]) for each in data] == [row.astype("<f4").tobytes() for row in VECTORS]


def test_one_text(http: Any) -> None:
    assert np.array_equal(vectors(post(http, input=TEXTS[0], model="text")), VECTORS[:1])


def test_null_is_as_good_as_nothing(http: Any) -> None:
    """Some clients send all fields."""
    nothing = dict.fromkeys(("model", "dimensions", "encoding_format", "user"))
    assert np.array_equal(vectors(post(http, input=TEXTS, **nothing)), VECTORS)


def test_usage_counts_the_tokens_that_the_model_reads(http: Any) -> None:
    expected = sum(min(len(text.encode()) + 2, toy_models.MAX_TOKENS) for text in TEXTS)
    assert post(http, input=TEXTS, model="text").json()["usage"] == {
        "prompt_tokens": expected,
        "total_tokens": expected,
    }


def test_dimensions_cut_and_renormalise(http: Any) -> None:
    found = vectors(post(http, input=TEXTS, model="text", dimensions=2))
    cut = VECTORS[:, :2].astype(np.float64)
    assert found.shape == (len(TEXTS), 2)
    np.testing.assert_allclose(found, cut / np.linalg.norm(cut, axis=1, keepdims=True), rtol=1e-6)
    assert np.array_equal(vectors(post(http, input=TEXTS, model="text", dimensions=3)), VECTORS)


def test_a_vector_of_zeros_stays_one() -> None:
    from rawbert.serving.gateway.answers import shortened

    found = shortened(np.array([[0, 0, 5], [3, 4, 5]], np.float32), 2, normalize=False)
    np.testing.assert_allclose(found, [[0, 0], [0.6, 0.8]], rtol=1e-6)
    unit = np.array([[0.6, 0.8]], np.float32)
    assert np.array_equal(shortened(unit, None, normalize=True), unit)


@pytest.mark.parametrize("name", ["text-embedding-3-small", "stable", "BAAI/three", None])
def test_names(http: Any, name: str | None) -> None:
    answer = post(http, input="a", model=name)
    assert np.array_equal(vectors(answer)[0], toy_models.embedding(b"a"))
    assert answer.json()["model"] == (name or "text")


def test_labels_and_versions_are_sent_to_the_server(backend: Any, http: Any) -> None:
    """The version that counted the tokens also computes the vectors."""
    seen: list[Any] = []
    backend.before = lambda request: seen.append(request.model_spec)
    try:
        post(http, input="a", model="stable")
    finally:
        backend.before = lambda request: None
    assert [(each.version_label, each.version.value) for each in seen] == [("stable", 0), ("", 3)]


def test_models_without_embed_answer_their_pooled_vectors(backend: Any) -> None:
    from fastapi.testclient import TestClient
    from rawbert.serving.gateway import create_app

    with TestClient(create_app(backend.address, models=["hub"])) as http:
        answer = post(http, input="abc", model="hub")
    assert np.array_equal(vectors(answer)[0], toy_models.pooled(b"abc"))
    assert answer.json()["usage"]["total_tokens"] == 0  # The model has no signature tokenize.


def test_many_texts_go_in_parts(backend: Any, http: Any) -> None:
    texts = [f"text {number}" for number in range(700)]
    before = len(backend.sizes)
    found = vectors(post(http, input=texts, model="text"))
    assert np.array_equal(found, [toy_models.embedding(text.encode()) for text in texts])
    assert sum(backend.sizes[before:]) == 1400
    assert max(backend.sizes[before:]) <= 64


def test_models_are_listed(http: Any) -> None:
    found = http.get("/v1/models").json()
    names = ["text", "tasks", "text-embedding-3-small", "stable", "BAAI/three", "gone"]
    assert found["object"] == "list"
    assert [each["id"] for each in found["data"]] == names
    assert all(set(each) == {"id", "object", "created", "owned_by"} for each in found["data"])
    assert http.get("/v1/models/BAAI/three").json()["id"] == "BAAI/three"


WRONG: list[tuple[dict[str, Any], int, str | None, str | None, str]] = [
    ({"input": "a", "model": "nope"}, 404, "model", "model_not_found", "use one of text, tasks"),
    ({"input": "a", "model": "gone"}, 404, None, "model_not_found", "9"),
    ({"input": "a", "model": "tasks"}, 400, "model", "unsupported_model", "classify"),
    ({"model": "text"}, 400, "input", None, "required"),
    ({"input": [], "model": "text"}, 400, "input", "empty_input", "empty"),
    ({"input": None, "model": "text"}, 400, "input", None, "a list of texts"),
    ({"input": {"a": "b"}, "model": "text"}, 400, "input", None, "a list of texts"),
    ({"input": ["a", None], "model": "text"}, 400, "input", None, "item 1"),
    ({"input": ["a"] * 2049, "model": "text"}, 400, "input", "too_many_inputs", "2048"),
    ({"input": [1212, 318], "model": "text"}, 400, "input", None, "check_embedding_ctx_length=False"),
    ({"input": [[1212], [318]], "model": "text"}, 400, "input", None, "check_embedding_ctx_length=False"),
    ({"input": "a", "model": "text", "dimensions": 4}, 400, "dimensions", None, "at most 3"),
    ({"input": "a", "model": "text", "dimensions": 0}, 400, "dimensions", None, "1"),
    ({"input": "a", "model": "text", "dimensions": "2"}, 400, "dimensions", None, "integer"),
    ({"input": "a", "model": "text", "dimensions": True}, 400, "dimensions", None, "integer"),
    ({"input": "a", "model": "text", "user": 5}, 400, "user", None, "string"),
    ({"input": "a", "model": "text", "encoding_format": "int8"}, 400, "encoding_format", None, "base64"),
    ({"input": "a", "model": 5}, 400, "model", None, "string"),
]


@pytest.mark.parametrize(("body", "status", "param", "code", "said"), WRONG)
def test_wrong_requests(
    http: Any, body: dict[str, Any], status: int, param: str | None, code: str | None, said: str
) -> None:
    answer = http.post("/v1/embeddings", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)
    assert error["type"] == "invalid_request_error"
    assert said in error["message"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "JSON object"),
        (b"[1]", "JSON object"),
        (b'{"input": "a"', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "parsing"),
        (b'{"input": "\\ud800"}', "surrogate"),
    ],
)
def test_what_is_no_json(http: Any, data: bytes, said: str) -> None:
    answer = http.post("/v1/embeddings", content=data, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/text", "/health", "/info", "/metrics", "/docs"])
def test_head_is_get_without_a_body(http: Any, path: str) -> None:
    answer = http.head(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, http.get(path).headers["content-type"])
    assert http.head("/v1/embeddings").status_code == 405


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nope", 404), ("PUT", "/v1/embeddings", 405)])
def test_paths_and_methods_that_there_are_not(http: Any, method: str, path: str, status: int) -> None:
    answer = http.request(method, path)
    assert (answer.status_code, set(answer.json()["error"])) == (status, {"message", "type", "param", "code"})


def test_openapi_describes_the_request(http: Any) -> None:
    page = http.get("/openapi.json").json()
    schema = page["components"]["schemas"]["EmbeddingRequest"]
    assert set(schema["properties"]) == {"input", "model", "dimensions", "encoding_format", "user"}
    assert schema["required"] == ["input"]
    assert "EmbeddingResponse" in json.dumps(page["paths"]["/v1/embeddings"])
