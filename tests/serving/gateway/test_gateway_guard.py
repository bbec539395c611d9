"""Keys, limits, health, metrics, the status for errors of the server, and versions that change during a request."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import toy_models
from official_server import Official, number_server
from watched import Refusal

KEY = {"authorization": "Bearer correct horse"}


@contextmanager
def gateway(backend: Any, **settings: Any) -> Iterator[Any]:
    from fastapi.testclient import TestClient
    from rawbert.serving.gateway import create_app

    settings = {"models": ["text"], **settings}
    with TestClient(create_app(getattr(backend, "address", backend), **settings)) as client:
        yield client


def embed(http: Any, **more: Any) -> Any:
    return http.post("/v1/embeddings", json={"input": "a"}, **more)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer correct"},
        {"authorization": "Basic correct horse"},
        {"authorization": "correct horse"},
        {"authorization": "Bearer corr\u00e9ct horse".encode()},
    ],
)
def test_without_a_key_that_is_known(backend: Any, headers: dict[str, Any]) -> None:
    with gateway(backend, api_keys=["correct horse", "another"]) as http:
        before = len(backend.headers)
        answer = embed(http, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert http.post("/embed", json={"inputs": "a"}, headers=headers).json()["error_type"] == "Validation"
        for path in (
            "/",
            "/embed",
            "/rerank",
            "/predict",
            "/tokenize",
            "/v1/rerank",
            "/v1/nope",
            "/health",
            "/metrics",
        ):
            assert http.post(path, json={}, headers=headers).status_code == 401
        for path in ("/v1/models", "/v1/models/text", "/info", "/models/text/info", "/nope"):
            assert http.get(path, headers=headers).status_code == 401
        assert len(backend.headers) == before  # No call reached the server.
        for path in ("/health", "/live", "/ping", "/", "/metrics", "/docs", "/openapi.json"):
            assert http.get(path, headers=headers).status_code == 200


def test_with_a_key(backend: Any) -> None:
    with gateway(backend, api_keys=["another", "correct horse"]) as http:
        assert embed(http, headers=KEY).status_code == 200
        assert embed(http, headers={"authorization": "bearer another"}).status_code == 200
        assert http.get("/v1/models", headers=KEY).status_code == 200


def test_keys_of_a_file_that_changes(backend: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def statuses(http: Any) -> list[int]:
        keys = ("fixed", "old", "new")
        return [embed(http, headers={"authorization": f"Bearer {key}"}).status_code for key in keys]

    file = tmp_path / "keys"
    file.write_text("old\n")
    with gateway(backend, api_keys=["fixed"], api_key_file=file) as http:
        assert statuses(http) == [200, 200, 401]
        file.write_text("# both\nold\nnew\n")
        assert statuses(http) == [200, 200, 200]
        for change in (file.unlink, lambda: file.write_text("# none\n"), lambda: file.write_bytes(b"\xff")):
            change()  # The keys are unchanged: an invalid file neither opens nor closes the gateway.
            assert statuses(http) == [200, 200, 200]
        assert caplog.text.count("the API keys are unchanged") == 3
        # Kubernetes replaces a Secret in this way.
        (tmp_path / "next").write_text("new\n")
        (tmp_path / "next").replace(file)
        assert statuses(http) == [200, 401, 200]
    with pytest.raises(ValueError, match="cannot be read"), gateway(backend, api_key_file=tmp_path / "nowhere"):
        pass


def test_keys_are_not_passed_on(backend: Any) -> None:
    """The server gets the headers that the gateway is configured to send."""
    with gateway(backend, api_keys=["correct horse"], metadata={"authorization": "Bearer own"}) as http:
        before = len(backend.headers)
        embed(http, headers=KEY)
    assert {each.get("authorization") for each in backend.headers[before:]} == {"Bearer own"}


def test_rates() -> None:
    from rawbert.serving.gateway.guard import Rates

    now = 0.0
    rates = Rates(3, lambda: now)
    assert [rates.take(b"a") for _ in range(3)] == [0, 0, 0]
    assert rates.take(b"a") == pytest.approx(20)
    assert rates.take(b"b") == 0
    now = 19.0
    assert rates.take(b"a") == pytest.approx(1)
    now = 20.5
    assert rates.take(b"a") == 0
    assert rates.take(b"a") > 0
    now = 1000.0
    assert [bool(rates.take(b"a")) for _ in range(4)] == [False, False, False, True]
    for number in range(20_000):
        rates.take(str(number).encode())
    assert len(rates._buckets) == 10_000


def test_requests_per_minute_are_of_each_key(backend: Any) -> None:
    from rawbert.serving.gateway import Limits

    with gateway(backend, api_keys=["one", "two"], limits=Limits(requests_per_minute=2)) as http:
        one, two = ({"authorization": f"Bearer {key}"} for key in ("one", "two"))
        assert [embed(http, headers=one).status_code for _ in range(3)] == [200, 200, 429]
        answer = embed(http, headers=one)
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert http.post("/embed", json={"inputs": "a"}, headers=one).json()["error_type"] == "Overloaded"
        names = [f"x-ratelimit-{name}-requests" for name in ("limit", "remaining", "reset")]
        assert [answer.headers[name] for name in names[:2]] == ["2", "0"]
        assert 50 < float(answer.headers[names[2]].removesuffix("s")) <= 60
        answer = embed(http, headers=two)
        assert (answer.status_code, answer.headers[names[1]]) == (200, "1")
        assert http.get("/health").status_code == 200
        assert names[0] not in http.get("/health").headers
    with gateway(backend, limits=Limits(requests_per_minute=1)) as http:
        assert [embed(http).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("chunked", [False, True])
def test_large_requests(backend: Any, chunked: bool) -> None:
    from rawbert.serving.gateway import Limits

    body = json.dumps({"input": "x" * 2000}).encode()
    parts = (body[at : at + 100] for at in range(0, len(body), 100))
    headers = {"content-type": "application/json"}
    with gateway(backend, limits=Limits(body_bytes=1000)) as http:
        answer = http.post("/v1/embeddings", content=parts if chunked else body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        assert embed(http).status_code == 200
    with gateway(backend, limits=Limits(texts=2)) as http:
        assert http.post("/v1/embeddings", json={"input": ["a"] * 2}).status_code == 200
        assert http.post("/v1/embeddings", json={"input": ["a"] * 3}).status_code == 400
        assert http.post("/embed", json={"inputs": ["a"] * 3}).status_code == 413


def test_requests_at_once(backend: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from rawbert.serving.gateway import Limits

    entered, go_on = threading.Event(), threading.Event()

    def wait(request: Any) -> None:
        entered.set()
        go_on.wait(30)

    with gateway(backend, limits=Limits(concurrent_requests=1)) as http, ThreadPoolExecutor(1) as pool:
        assert embed(http).status_code == 200
        backend.before = wait
        try:
            first = pool.submit(embed, http)
            assert entered.wait(30)
            answer = embed(http)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            assert http.get("/live").status_code == 200
        finally:
            backend.before = lambda request: None
            go_on.set()
        assert first.result().status_code == 200
        assert embed(http).status_code == 200


STATUSES = [
    (grpc.StatusCode.INVALID_ARGUMENT, "it is wrong", 400, 422, "it is wrong"),
    (grpc.StatusCode.NOT_FOUND, "Servable not found", 404, 404, "Servable not found"),
    (grpc.StatusCode.UNIMPLEMENTED, "no such method", 404, 404, "no such method"),
    (grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "embed" not found.', 400, 424, "signature"),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max (1 vs. 0)", 413, 413, "larger"),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "a quota", 429, 429, "try again"),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "late", 504, 504, "in time"),
    (grpc.StatusCode.UNAVAILABLE, "handshake failed", 503, 503, "cannot be reached"),
    (grpc.StatusCode.UNAUTHENTICATED, "who?", 502, 424, "credentials"),
    (grpc.StatusCode.PERMISSION_DENIED, "no", 502, 424, "credentials"),
    (grpc.StatusCode.INTERNAL, "secret of the server", 502, 424, "failed"),
    (grpc.StatusCode.UNKNOWN, "secret of the server", 502, 424, "failed"),
    (grpc.StatusCode.DATA_LOSS, "secret of the server", 502, 424, "failed"),
]


@pytest.mark.parametrize(("code", "details", "status", "tei", "said"), STATUSES)
def test_errors_of_the_server(
    backend: Any, http: Any, caplog: pytest.LogCaptureFixture, code: Any, details: str, status: int, tei: int, said: str
) -> None:
    def refuse(request: Any) -> None:
        raise Refusal(code, details)

    backend.before = refuse
    try:
        with caplog.at_level(logging.WARNING, "rawbert.serving.gateway"):
            answers = [embed(http), http.post("/models/text/embed", json={"inputs": "a"})]
    finally:
        backend.before = lambda request: None
    assert [each.status_code for each in answers] == [status, tei]
    messages = [answers[0].json()["error"]["message"], answers[1].json()["error"]]
    assert messages[0] == messages[1]
    assert said in messages[0]
    assert not re.search(r"secret|127\.0\.0\.1", messages[0])
    assert (answers[0].headers.get("retry-after") == "1") == (status in (429, 503))
    if status >= 429:
        assert details in caplog.text


def test_a_server_that_is_away_or_too_slow(backend: Any) -> None:
    with gateway("127.0.0.1:1", timeout=0.3) as http:
        assert embed(http).status_code == 503
        answer = http.get("/health")
        assert answer.status_code == 503
        assert "text" in json.dumps(answer.json())
        assert http.get("/live").status_code == 200
    slow = threading.Event()
    backend.before = lambda request: slow.wait(2)
    try:
        with gateway(backend, timeout=0.2) as http:
            assert embed(http).status_code == 504
    finally:
        slow.set()
        backend.before = lambda request: None


def test_health(backend: Any) -> None:
    with gateway(backend, models=["text", "tasks"]) as http:
        assert (http.get("/health").status_code, http.get("/health").json()) == (200, {"status": "ok"})
        http.app.state.gateway.draining = True
        assert (http.get("/health").status_code, embed(http).status_code) == (503, 200)
    with gateway(backend, models=["text", "nope"]) as http:
        answer = http.get("/health")
        assert answer.status_code == 503
        assert "'nope'" in answer.json()["error"]
        # The available one answers.
        assert embed(http).status_code == 200


def test_values_that_are_no_numbers() -> None:
    from official_models import Model, Signature

    signature = Signature(
        {"text": ("string", (-1,))},
        {"embedding": ("float32", (-1, 2))},
        lambda given, version: {"embedding": np.full((len(given["text"]), 2), np.nan, np.float32)},
    )
    with Official({"text": Model({"embed": signature})}) as server, gateway(server) as http:
        answer = embed(http)
    assert (answer.status_code, "not finite" in answer.text) == (502, True)


def test_a_version_that_goes_on_the_way() -> None:
    """Version 1 counts the tokens and is then unloaded: the whole answer is from version 2."""
    from official_models import NUMBERS, TOY, Model

    both = Model({**NUMBERS.signatures, "tokenize": TOY.signatures["tokenize"]}, (1,))
    asked: list[tuple[str, int]] = []

    def swap(request: Any) -> None:
        asked.append((request.model_spec.signature_name, request.model_spec.version.value))
        if len(asked) == 2:
            server.versions[:] = [2]

    with Official({"text": both}, swap, versions=[1]) as server, gateway(server) as http:
        answer = http.post("/v1/embeddings", json={"input": ["5", "6"]})
    assert [each["embedding"] for each in answer.json()["data"]] == [[2, 5], [2, 6]]
    assert answer.headers["x-rawbert-model-version"] == "2"
    assert asked == [("tokenize", 0), ("embed", 1), ("tokenize", 0), ("embed", 2)]


def test_servers_that_differ_in_their_versions() -> None:
    """Calls to a version go to the server that has it."""
    with number_server(versions=[1]) as one, number_server(versions=[2]) as two:
        addresses = [one.address, two.address]
        with gateway(addresses, models=["m"], aliases={"old": "m@1", "new": "m@2", "none": "m@3"}) as http:
            for name, version in (("old", 1), ("new", 2)) * 5:
                answer = http.post("/v1/embeddings", json={"input": ["5"], "model": name})
                assert answer.json()["data"][0]["embedding"] == [version, 5]
            assert http.post("/v1/embeddings", json={"input": ["5"], "model": "none"}).status_code == 404


def test_metrics(backend: Any) -> None:
    with gateway(backend, aliases={"other": "text"}) as http:
        http.post("/v1/embeddings", json={"input": ["a", "bc"], "model": "other"})
        embed(http, headers={"x": "y"})
        http.post("/v1/embeddings", json={"input": "a", "model": "nope"})
        http.post("/models/text/embed", json={"inputs": "a"})
        for path in ("/nope", "/1", "/2"):
            http.get(path)
        lines = http.get("/metrics").text.splitlines()
    found = {
        'rawbert_gateway_requests_total{code="200",route="/v1/embeddings"}': 2,
        'rawbert_gateway_requests_total{code="404",route="/v1/embeddings"}': 1,
        'rawbert_gateway_requests_total{code="200",route="/embed"}': 1,
        'rawbert_gateway_requests_total{code="404",route="none"}': 3,
        'rawbert_gateway_texts_total{model="text",version="3"}': 4,
        'rawbert_gateway_tokens_total{model="text"}': 3 + 4 + 3,
        'rawbert_gateway_backend_call_seconds_count{code="OK",method="Predict",model="text"}': 5,
        'rawbert_gateway_request_seconds_count{route="/v1/embeddings"}': 3,
        "rawbert_gateway_requests_in_flight": 1,
    }
    for name, value in found.items():
        assert f"{name} {float(value)}" in lines, name


def test_a_caller_that_leaves_before_its_request_is_complete(backend: Any) -> None:
    """It is counted as 499; the gateway calls no model and sends no answer."""
    from rawbert.serving.gateway import create_app

    app, sent = create_app(backend.address, models=["text"]), list[Any]()
    heard = iter([{"type": "http.request", "body": b'{"input"', "more_body": True}, {"type": "http.disconnect"}])
    scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": [], "client": None}

    async def receive() -> Any:
        return next(heard)

    async def send(message: Any) -> None:
        sent.append(message)

    before = len(backend.headers)
    asyncio.run(app(scope, receive, send))
    assert (sent, len(backend.headers)) == ([], before)
    requests = app.state.gateway.metrics.registry.get_sample_value
    assert requests("rawbert_gateway_requests_total", {"route": "none", "code": "499"}) == 1
    assert requests("rawbert_gateway_requests_in_flight") == 0


def test_it_is_mounted_in_another_app(backend: Any) -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from rawbert.serving.gateway import create_app

    outer, inner = FastAPI(), create_app(backend.address, models=["text"], api_keys=["correct horse"])
    outer.mount("/bert", inner)
    http = TestClient(outer)  # Each request runs in a separate event loop.
    for _ in range(2):
        answer = http.post("/bert/v1/embeddings", json={"input": "a"}, headers=KEY)
        assert answer.json()["data"][0]["embedding"] == toy_models.embedding(b"a").tolist()
    assert http.post("/bert/v1/embeddings", json={"input": "a"}).json()["error"]["code"] == "invalid_api_key"
    assert http.get("/bert/health").status_code == 200
    assert http.get("/bert/v1/nope", headers=KEY).json()["error"]["message"].startswith("GET /v1/nope")
    asyncio.run(inner.state.gateway.close())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"models": []}, "models is empty"),
        ({"models": "text"}, "single str"),
        ({"models": ["text", ""]}, "empty"),
        ({"models": ["text"], "aliases": {"a": "nope"}}, "'nope'"),
        ({"models": ["text"], "aliases": {"a": "text@"}}, "'text@'"),
        ({"models": ["text"], "aliases": {"": "text"}}, "alias ''"),
        ({"models": ["text", "b"], "aliases": {"b": "text"}}, "is also the name of a model"),
        ({"models": ["text"], "logits": ["nope"]}, "nope"),
        ({"models": ["text"], "api_keys": "key"}, "list of keys"),
        ({"models": ["text"], "api_keys": [""]}, "empty key"),
        ({"models": ["text"], "timeout": 0}, "timeout"),
        ({"models": ["text"], "address": "http://bert:8500"}, "scheme"),
        ({"models": ["text"], "version": 1, "version_label": "a"}, "not both"),
        ({"models": ["text"], "nonsense": 1}, "nonsense"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], said: str) -> None:
    from rawbert.serving.gateway import create_app

    with pytest.raises((TypeError, ValueError), match=re.escape(said)):
        create_app(**settings)


def test_limits_that_cannot_work() -> None:
    from rawbert.serving.gateway import Limits

    for name in ("body_bytes", "texts", "concurrent_requests"):
        with pytest.raises(ValueError, match=name):
            Limits(**{name: 0})
    with pytest.raises(ValueError, match="requests_per_minute"):
        Limits(requests_per_minute=-1)
