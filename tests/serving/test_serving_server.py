"""The embedded server, called by the official stubs: it answers with TensorFlow Serving's codes and messages."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
import toy_models
import wire

Code = grpc.StatusCode


def predict_request(signature: str = "", output_filter: Any = (), **inputs: Any) -> Any:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest(output_filter=output_filter)
    request.model_spec.name = "arithmetic"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def changed(change: Any) -> Any:
    """A valid request with changes."""
    request = predict_request(x=np.float32([1]))
    change(request)
    return request


def tensor(data: bytes) -> Any:
    from tensorflow.core.framework import tensor_pb2

    return tensor_pb2.TensorProto.FromString(data)


REFUSED: dict[str, tuple[Any, Code, str]] = {
    "unknown signature": (
        lambda: predict_request("nope", x=np.float32([1])),
        Code.FAILED_PRECONDITION,
        'Serving signature key "nope" not found.',
    ),
    "unknown model": (
        lambda: changed(lambda request: setattr(request.model_spec, "name", "nope")),
        Code.NOT_FOUND,
        "Servable not found for request: Latest(nope)",
    ),
    "unknown version": (
        lambda: changed(lambda request: setattr(request.model_spec.version, "value", 9)),
        Code.NOT_FOUND,
        "Servable not found for request: Specific(arithmetic, 9)",
    ),
    "no model_spec": (
        lambda: changed(lambda request: request.ClearField("model_spec")),
        Code.INVALID_ARGUMENT,
        "Missing ModelSpec",
    ),
    "empty name": (
        lambda: changed(lambda request: request.model_spec.ClearField("name")),
        Code.INVALID_ARGUMENT,
        "ModelSpec has no name specified.",
    ),
    "unknown label": (
        lambda: changed(lambda request: setattr(request.model_spec, "version_label", "nolabel")),
        Code.INVALID_ARGUMENT,
        "Unrecognized servable version label: nolabel",
    ),
    "wrong input name": (
        lambda: predict_request(z=np.float32([1])),
        Code.INVALID_ARGUMENT,
        "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value provided. "
        "Inputs expected to be in the request {z}, or default input alias set: ",
    ),
    "extra input": (
        lambda: predict_request(x=np.float32([1]), q=np.float32([1])),
        Code.INVALID_ARGUMENT,
        "input size does not match signature: 2!=1 len({q,x}) != len({x}). Sent extra: {q}. Missing but required: {}.",
    ),
    "missing input": (
        lambda: predict_request("pair", x=np.float32([1])),
        Code.INVALID_ARGUMENT,
        "input size does not match signature: 1!=2 len({x}) != len({q,x}). Sent extra: {}. Missing but required: {q}.",
    ),
    "wrong dtype": (
        lambda: predict_request(x=np.int32([1])),
        Code.INVALID_ARGUMENT,
        "Expects arg[0] to be float but int32 is provided",
    ),
    "wrong dtype of a second input": (
        lambda: predict_request("pair", q=np.float32([1]), x=["a"]),
        Code.INVALID_ARGUMENT,
        "Expects arg[1] to be float but string is provided",
    ),
    "unknown output": (
        lambda: predict_request("pair", ["zz"], x=np.float32([1]), q=np.float32([1])),
        Code.INVALID_ARGUMENT,
        "output tensor alias not found in signature: zz Outputs expected to be in the set {difference,sum}.",
    ),
    "an output twice": (
        lambda: predict_request("pair", ["sum", "sum"], x=np.float32([1]), q=np.float32([1])),
        Code.INVALID_ARGUMENT,
        "duplicate output tensor alias: sum",
    ),
    **{
        name: (
            lambda data=data: changed(lambda request: request.inputs["x"].CopyFrom(tensor(data))),
            Code.INVALID_ARGUMENT,
            "tensor parsing error: x",
        )
        for name, data in {
            "content too short": wire.tensor(1, (2,), wire.field(4, wire.LENGTH, b"\0" * 4)),
            "a negative dimension": wire.tensor(1, (-1,)),
            "a huge dimension": wire.tensor(1, (2**62,)),
            "no dtype": wire.tensor(0, (1,)),
            "an unknown dtype": wire.tensor(77, (1,)),
        }.items()
    },
    "the model's own refusal": (
        lambda: predict_request("fails", x=np.float32([1])),
        Code.INVALID_ARGUMENT,
        "assertion failed: [positive is not allowed]",
    ),
}


@pytest.mark.parametrize(("request_of", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(official: Any, request_of: Any, code: Code, message: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        official.Predict(request_of())
    assert caught.value.code() is code
    details = caught.value.details()
    assert details.startswith(message) if "assertion" in message else details == message
    # The server still answers.
    assert official.Predict(predict_request(x=np.float32([1]))).outputs["y"].float_val[:] == [2.5]


def test_what_is_answered(official: Any) -> None:
    answer = official.Predict(predict_request(x=np.float32([1, 2])))
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("arithmetic", 1, "serving_default")
    assert list(answer.outputs["y"].float_val) == [2.5, 3]
    assert [dim.size for dim in answer.outputs["y"].tensor_shape.dim] == [2]
    answer = official.Predict(predict_request("pair", ["sum"], x=np.float32([1]), q=np.float32([2])))
    assert list(answer.outputs) == ["sum"]
    assert answer.model_spec.signature_name == "pair"


@pytest.mark.parametrize(
    ("data", "shape", "values"),
    [
        (wire.tensor(1, (3,), wire.field(5, wire.FIXED32, np.float32(2).tobytes())), [3], [3, 3, 3]),
        (wire.tensor(1, (2,)), [2], [2, 2]),
        (wire.tensor(1, (1,), wire.field(5, wire.LENGTH, np.float32([2, 4]).tobytes())), [1], [3]),
        (wire.tensor(1, (2, 1), wire.field(4, wire.LENGTH, np.float32([2, 4]).tobytes())), [2, 1], [3, 4]),
        (
            wire.field(1, wire.VARINT, b"\x01") + wire.field(2, wire.LENGTH, wire.field(3, wire.VARINT, b"\x01")),
            [],
            [2],
        ),
        (wire.tensor(1, (0,)), [0], []),
    ],
    ids=["fewer values", "no values", "too many values", "another rank, content", "unknown rank", "no rows"],
)
def test_what_is_left_to_the_graph(official: Any, data: bytes, shape: list[int], values: list[float]) -> None:
    answer = official.Predict(changed(lambda request: request.inputs["x"].CopyFrom(tensor(data))))
    assert [dim.size for dim in answer.outputs["y"].tensor_shape.dim] == shape
    assert list(answer.outputs["y"].float_val) == values


FIELDS = {
    "float32": "float_val", "float64": "double_val", "int8": "int_val", "int16": "int_val", "int32": "int_val",
    "uint8": "int_val", "uint16": "int_val", "int64": "int64_val", "bool": "bool_val", "float16": "half_val",
    "bfloat16": "half_val", "string": "string_val", "uint32": "uint32_val", "uint64": "uint64_val",
    "complex64": "scomplex_val", "complex128": "dcomplex_val",
}  # fmt: skip


def test_each_dtype_is_answered_in_its_own_field(official: Any) -> None:
    import tensorflow as tf

    dtypes = {name: tf.as_dtype(name).as_numpy_dtype for name in toy_models.ECHOED}
    sent = {name: np.array([1, 0, 1]).astype(dtype) for name, dtype in dtypes.items()}
    sent["string"] = np.array([b"a\0", b"", b"\xff"], object)
    answer = official.Predict(predict_request("types", **{f"i{name}": value for name, value in sent.items()}))
    assert set(answer.outputs) == set(FIELDS)
    for name, proto in answer.outputs.items():
        filled = {field.name for field, _ in proto.ListFields()} - {"dtype", "tensor_shape"}
        assert filled == {FIELDS[name]}
        assert tf.as_dtype(proto.dtype).name == name
        assert tf.make_ndarray(proto).tolist() == sent[name].tolist()


def test_metadata(official: Any, arithmetic_server: Any) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "arithmetic"
    answer = official.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "pair", "types"} <= set(signatures.signature_def)
    assert signatures.signature_def["pair"].inputs["q"].name == "pair_q:0"
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("arithmetic", 1)

    for fields, name, code, message in (
        (["foo"], "arithmetic", Code.INVALID_ARGUMENT, "Metadata field foo is not supported"),
        ([], "arithmetic", Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field"),
        (["signature_def"], "nope", Code.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        (["signature_def"], "", Code.INVALID_ARGUMENT, "Missing ModelSpec"),
    ):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        if name:
            request.model_spec.name = name
        with pytest.raises(grpc.RpcError) as caught:
            official.GetModelMetadata(request)
        assert (caught.value.code(), caught.value.details()) == (code, message)


def test_status(arithmetic_server: Any) -> None:
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

    with grpc.insecure_channel(arithmetic_server.address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        request = get_model_status_pb2.GetModelStatusRequest()
        with pytest.raises(grpc.RpcError, match="Missing ModelSpec"):
            stub.GetModelStatus(request)
        request.model_spec.name = "arithmetic"
        request.model_spec.version_label = "ignored"
        (status,) = stub.GetModelStatus(request).model_version_status
        assert (status.version, status.state, status.status.error_code) == (1, 30, 0)
        for name, version, message in (
            ("nope", None, "Could not find any versions of model nope"),
            ("arithmetic", 7, "Could not find version 7 of model arithmetic"),
        ):
            request = get_model_status_pb2.GetModelStatusRequest()
            request.model_spec.name = name
            if version is not None:
                request.model_spec.version.value = version
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetModelStatus(request)
            assert (caught.value.code(), caught.value.details()) == (Code.NOT_FOUND, message)


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("PredictionService/MultiInference", Code.UNIMPLEMENTED),
        ("PredictionService/Nonsense", Code.UNIMPLEMENTED),
        ("SessionService/SessionRun", Code.UNIMPLEMENTED),
    ],
)
def test_methods_that_are_not_served(arithmetic_server: Any, method: str, code: Code) -> None:
    with grpc.insecure_channel(arithmetic_server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/tensorflow.serving.{method}")(b"")
    assert caught.value.code() is code


@pytest.mark.parametrize(
    ("method", "signature", "says"),
    [
        ("Classify", "", "No classification inputs found in SignatureDef: "),
        ("Regress", "", "No regression inputs found in SignatureDef: "),
        ("Classify", "pair", "Expected one input Tensor."),
        ("Regress", "nope", "No signature was found with the name: nope"),
    ],
)
def test_examples_for_a_predict_signature(arithmetic_server: Any, method: str, signature: str, says: str) -> None:
    from tensorflow_serving.apis import classification_pb2, prediction_service_pb2_grpc, regression_pb2

    asked = {"Classify": classification_pb2.ClassificationRequest, "Regress": regression_pb2.RegressionRequest}[
        method
    ]()
    asked.model_spec.name = "arithmetic"
    asked.model_spec.signature_name = signature
    with grpc.insecure_channel(arithmetic_server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        getattr(prediction_service_pb2_grpc.PredictionServiceStub(channel), method)(asked)
    assert caught.value.code() is Code.INVALID_ARGUMENT
    assert caught.value.details().startswith(says)


def test_garbage_bytes(arithmetic_server: Any) -> None:
    with grpc.insecure_channel(arithmetic_server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"\xff\xff garbage")
    assert caught.value.code() is Code.INTERNAL
