"""GetModelStatus, GetModelMetadata and the health service."""

from __future__ import annotations

from typing import Any

import pytest
from cases import AVAILABLE, INVALID, Code, refused, row


@row("Status", "Versions are listed from the largest")
def test_states_of_a_model(plain: Any) -> None:
    assert plain.status("half") == [(2, AVAILABLE, 0), (1, AVAILABLE, 0)]
    assert all(each.HasField("status") and not each.status.error_message for each in plain.statuses("half"))


@row("Status", "one version alone if the request names it")
def test_state_of_one_version(plain: Any) -> None:
    assert plain.status("half", 1) == [(1, AVAILABLE, 0)]


@row("Status", "A label in the request is ignored")
def test_a_label_is_ignored(plain: Any) -> None:
    assert [each.version for each in plain.statuses("half", label="stable")] == [2, 1]


@row("Status", "For unknown models and versions: NOT_FOUND")
def test_states_of_nothing(plain: Any) -> None:
    refused(lambda: plain.status("nope"), Code.NOT_FOUND, "Could not find any versions of model nope")
    refused(lambda: plain.status("half", 7), Code.NOT_FOUND, "Could not find version 7 of model half")


@row("Status", "Metadata are the signatures of the version")
def test_metadata_of_the_version_asked_for(plain: Any) -> None:
    for spec, version in (({"version": 1}, 1), ({"label": "stable"}, 1), ({}, 2)):
        answered, signatures = plain.metadata("half", "signature_def", **spec)
        assert (answered.name, answered.version.value) == ("half", version)
        assert {"serving_default", "regress_x_to_y", "classify_x_to_y"} <= set(signatures)


@row("Status", "as in its SavedModel")
def test_what_metadata_says_of_a_signature(plain: Any) -> None:
    _, signatures = plain.metadata("half", "signature_def")
    default, regress = signatures["serving_default"], signatures["regress_x_to_y"]
    x, y = default.inputs["x"], default.outputs["y"]
    assert (x.name, x.dtype, [dim.size for dim in x.tensor_shape.dim]) == ("x:0", 1, [-1, 1])
    assert (y.name, y.dtype, [dim.size for dim in y.tensor_shape.dim]) == ("y:0", 1, [-1, 1])
    assert default.method_name == "tensorflow/serving/predict"
    assert (regress.inputs["inputs"].name, regress.inputs["inputs"].dtype) == ("tf_example:0", 7)
    assert regress.method_name == "tensorflow/serving/regress"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            ["foo"], "Metadata field foo is not supported", marks=row("Status", "Metadata field foo is not supported")
        ),
        pytest.param(
            [],
            "GetModelMetadataRequest must specify at least one metadata_field",
            marks=row("Status", "GetModelMetadataRequest must specify at least one metadata_field"),
        ),
    ],
    ids=["unknown field", "no field"],
)
def test_metadata_refused(plain: Any, fields: list[str], message: str) -> None:
    refused(lambda: plain.metadata("half", *fields), INVALID, message)


@row("Status", "an unknown model is answered as by Predict")
def test_metadata_of_nothing(plain: Any) -> None:
    refused(
        lambda: plain.metadata("nope", "signature_def"),
        Code.NOT_FOUND,
        "Servable not found for request: Latest(nope)",
    )


def _check(calls: Any, service: str) -> int:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    asked = health_pb2.HealthCheckRequest(service=service)
    status: int = health_pb2_grpc.HealthStub(calls.channel).Check(asked, timeout=30).status
    return status


@row("Health", '`""`, `ModelService` and `PredictionService` are SERVING')
def test_health(plain: Any) -> None:
    assert [_check(plain, name) for name in ("", "ModelService", "PredictionService")] == [1, 1, 1]


@row("Health", "other names NOT_FOUND")
def test_health_of_a_service_that_is_not_there(plain: Any) -> None:
    refused(lambda: _check(plain, "no"), Code.NOT_FOUND)


@row("Health", "Without the flag: UNIMPLEMENTED")
def test_no_health_without_the_flag(batched: Any) -> None:
    refused(lambda: _check(batched, ""), Code.UNIMPLEMENTED)
