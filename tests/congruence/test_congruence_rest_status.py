"""Status, metadata and metrics over HTTP."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import servers
from cases import row

OK = {"error_code": "OK", "error_message": ""}


@row("REST", "`GET /v1/models/M` and `/v1/models/M/versions/N` answer the status")
@pytest.mark.parametrize(
    ("path", "versions"),
    [("half", "21"), ("half/versions/1", "1"), ("half/versions/2", "2"), ("h%61lf", "21"), ("arithmetic", "5")],
)
def test_status(rest: Any, path: str, versions: str) -> None:
    answer = rest.http("GET", f"/v1/models/{path}")
    states = [{"version": version, "state": "AVAILABLE", "status": OK} for version in versions]
    assert (answer.status, answer.json) == (200, {"model_version_status": states})
    assert answer.headers["Content-Type"] == "application/json"


@row("REST", "`GET /v1/models/M` and `/v1/models/M/versions/N` answer the status")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nope", "Could not find any versions of model nope"),
        ("half/versions/7", "Could not find version 7 of model half"),
        ("nope/metadata", "Servable not found for request: Latest(nope)"),
        ("half/versions/7/metadata", "Servable not found for request: Specific(half, 7)"),
    ],
)
def test_status_of_nothing(rest: Any, path: str, message: str) -> None:
    answer = rest.http("GET", f"/v1/models/{path}")
    assert (answer.status, answer.json) == (404, {"error": message})


@row("REST", "`Missing model name in request.`")
def test_status_without_a_name(rest: Any) -> None:
    answer = rest.http("GET", "/v1/models")
    assert (answer.status, answer.json) == (400, {"error": "Missing model name in request."})


@row("REST", "with `/metadata` after them the signatures")
@pytest.mark.parametrize(
    ("path", "version"),
    [("half/metadata", "2"), ("half/versions/1/metadata", "1"), ("half/labels/stable/metadata", "1")],
)
def test_metadata(rest: Any, path: str, version: str) -> None:
    answer = rest.http("GET", f"/v1/models/{path}")
    assert answer.status == 200
    assert answer.json["model_spec"] == {"name": "half", "signature_name": "", "version": version}
    signatures = answer.json["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "regress_x_to_y", "classify_x_to_y"} <= set(signatures)
    shape = {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False}
    default = signatures["serving_default"]
    assert default["inputs"] == {"x": {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": "x:0"}}
    assert default["outputs"] == {"y": {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": "y:0"}}
    assert default["method_name"] == "tensorflow/serving/predict"


SERVING = ":tensorflow:serving:"
BATCHING = f"{SERVING}batching_session:"
LABELS = {
    f"{SERVING}request_count": {"model_name", "status"},
    f"{SERVING}request_latency": {"model_name", "API", "entrypoint"},
    f"{SERVING}runtime_latency": {"model_name", "API", "runtime"},
    f"{BATCHING}queuing_latency": {"thread_pool_name"},
    f"{BATCHING}wrapped_run_count": set(),
    f"{BATCHING}input_batch_size": set(),
    f"{BATCHING}processed_batch_size": set(),
    f"{BATCHING}padding_size": {"execution_batch_size"},
    ":tensorflow:cc:saved_model:load_attempt_count": {"model_path", "status"},
    ":tensorflow:cc:saved_model:load_latency": {"model_path"},
}
#: First bound, factor, number.
BUCKETS = {
    f"{SERVING}request_latency": (10, 1.8, 33),
    f"{SERVING}runtime_latency": (10, 1.8, 33),
    f"{BATCHING}queuing_latency": (100, 1.2, 52),
    f"{BATCHING}input_batch_size": (1, 2, 14),
    f"{BATCHING}processed_batch_size": (1, 2, 14),
    f"{BATCHING}padding_size": (1, 2, 14),
}


def _page(calls: Any) -> str:
    answer = calls.http("GET", "/monitoring/prometheus/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    text: str = answer.body.decode()
    return text


def _samples(calls: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Values by name and labels."""
    lines = [line for line in _page(calls).splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"([a-z_:]+)\{(.*)\} (\S+)", line) for line in lines]
    return {(each[1], frozenset(re.findall(r'(\w+)="([^"]*)"', each[2]))): float(each[3]) for each in found if each}


def _value(calls: Any, name: str, **labels: str) -> float:
    return _samples(calls).get((name, frozenset(labels.items())), 0)


@pytest.fixture(scope="module")
def asked(batched: Any) -> Any:
    """Calls to a batched server, after one call over each protocol."""
    batched.predict(servers.request("batchable", "rows", {"x": np.ones(3, "f4")}))
    assert batched.post("batchable", '{"signature_name": "rows", "instances": [1, 2, 3]}').status == 200
    return batched


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("Metrics", f"`{name}`")) for name in LABELS])
def test_names_and_labels(asked: Any, name: str) -> None:
    parts = [f"{name}_{part}" for part in ("bucket", "sum", "count")] if name in BUCKETS else [name]
    samples = _samples(asked)
    for part in parts:
        found = [labels for sample, labels in samples if sample == part]
        names = {frozenset(label for label, _ in labels if label != "le") for labels in found}
        assert names == {frozenset(LABELS[name])}, part
    assert f"# TYPE {name} {'histogram' if name in BUCKETS else 'counter'}\n" in _page(asked)


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("Metrics", f"`{name}`")) for name in BUCKETS])
def test_buckets(asked: Any, name: str) -> None:
    first, factor, number = BUCKETS[name]
    found = {dict(labels)["le"] for (sample, labels) in _samples(asked) if sample == f"{name}_bucket"}
    expected = [first * factor**at for at in range(number)]
    assert len(found) == number + 1
    assert "+Inf" in found
    for bound, value in zip(expected, sorted(map(float, found)), strict=False):
        assert math.isclose(bound, value, rel_tol=1e-5)


@row("Metrics", "without HELP lines")
def test_no_help(asked: Any) -> None:
    assert "# HELP" not in _page(asked)


@row("Metrics", "A value on a bound counts in the next bucket")
def test_a_value_on_a_bound(asked: Any) -> None:
    name = f"{BATCHING}input_batch_size_bucket"
    before = {le: _value(asked, name, le=le) for le in ("2", "4")}
    asked.predict(servers.request("batchable", "rows", {"x": np.ones(2, "f4")}))
    after = {le: _value(asked, name, le=le) for le in ("2", "4")}
    assert (after["2"], after["4"]) == (before["2"], before["4"] + 1)


@row("Metrics", "calls of Predict, Classify and Regress, and requests over HTTP")
def test_requests_are_counted_by_status(asked: Any) -> None:
    name = f"{SERVING}request_count"
    counts = [
        {status: _value(asked, name, model_name=model, status=status) for status in ("OK", "NOT_FOUND")}
        for model in ("half", "nope")
    ]
    asked.predict(servers.request("half", "", {"x": np.float32([[4]])}))
    asked.post("half", '{"instances": [[4]]}')
    asked.http("GET", "/v1/models/half")
    asked.status("half")  # over gRPC, which is not counted
    asked.post("nope", '{"instances": [1]}')
    assert _value(asked, name, model_name="half", status="OK") == counts[0]["OK"] + 3
    assert _value(asked, name, model_name="half", status="NOT_FOUND") == counts[0]["NOT_FOUND"]
    assert _value(asked, name, model_name="nope", status="NOT_FOUND") == counts[1]["NOT_FOUND"] + 1


@row("Metrics", "`Predict` over `GRPC`, `predict` over `REST`")
def test_latency_by_protocol(asked: Any) -> None:
    for api, entrypoint in (("Predict", "GRPC"), ("predict", "REST")):
        labels = {"model_name": "batchable", "API": api, "entrypoint": entrypoint}
        assert _value(asked, f"{SERVING}request_latency_count", **labels) >= 1
        assert _value(asked, f"{SERVING}request_latency_sum", **labels) > 0
    assert _value(asked, f"{SERVING}runtime_latency_count", model_name="batchable", API="Predict", runtime="TF1") >= 2
