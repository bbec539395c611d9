"""What is asked, and what TensorFlow Serving 2.20.0 answers: measured there, in docs/tensorflow-serving.md by section.

A case is a function of the calls to a server; it raises where the answer differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
import servers
import toy_models
import wire

Code = grpc.StatusCode
Case = Callable[[Any], None]

#: Section of docs/tensorflow-serving.md -> name -> case, on a server that is not batched.
PLAIN: dict[str, dict[str, Case]] = {"Predict": {}, "Encoding": {}, "Signatures": {}, "Status": {}, "Health": {}}
BATCHED: dict[str, Case] = {}

X = np.float32([1, 4])


def refused(call: Callable[[], Any], code: Code, message: str) -> None:
    """The call ends with this status, and a message that begins so."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() is code, (caught.value.code(), caught.value.details())
    assert caught.value.details().startswith(message), caught.value.details()


def _refusal(name: str, code: Code, message: str, signature: str = "", outputs: Any = (), model: str = "arithmetic",
             **inputs: Any) -> None:  # fmt: skip
    spec = {key: inputs.pop(key) for key in ("version", "label") if key in inputs}

    def case(calls: Any) -> None:
        asked = servers.request(model, signature, inputs or {"x": X}, outputs, **spec)
        if model == "(none)":
            asked.ClearField("model_spec")
        refused(lambda: calls.predict(asked), code, message)

    PLAIN["Predict"][name] = case


INVALID = Code.INVALID_ARGUMENT
_refusal("unknown signature", Code.FAILED_PRECONDITION, 'Serving signature key "nope" not found.', "nope")
_refusal("unknown model", Code.NOT_FOUND, "Servable not found for request: Latest(nope)", model="nope")
_refusal(
    "unknown version", Code.NOT_FOUND, "Servable not found for request: Specific(arithmetic, 9)", version=9
)  # fmt: skip
_refusal("no model_spec", INVALID, "Missing ModelSpec", model="(none)")
_refusal("empty name", INVALID, "ModelSpec has no name specified.", model="")
_refusal("unknown label", INVALID, "Unrecognized servable version label: nolabel", label="nolabel")
_refusal(
    "wrong input name",
    INVALID,
    "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value provided. "
    "Inputs expected to be in the request {z}, or default input alias set: ",
    z=X,
)
_refusal(
    "extra input",
    INVALID,
    "input size does not match signature: 2!=1 len({q,x}) != len({x}). Sent extra: {q}. Missing but required: {}.",
    x=X,
    q=X,
)
_refusal("wrong dtype", INVALID, "Expects arg[0] to be float but int32 is provided", x=np.int32([1]))
for _name, _data in {
    "content too short": wire.tensor(1, (2,), wire.field(4, wire.LENGTH, b"\0" * 4)),
    "a negative dimension": wire.tensor(1, (-1,)),
    "a huge dimension": wire.tensor(1, (2**62,)),
    "dtype 0": wire.tensor(0, (1,)),
    "an unknown dtype": wire.tensor(77, (1,)),
}.items():
    _refusal(_name, INVALID, "tensor parsing error: x", x=_data)
_refusal(
    "unknown output",
    INVALID,
    "output tensor alias not found in signature: zz Outputs expected to be in the set {difference,sum}.",
    "pair",
    ["zz"],
    x=X,
    q=X,
)
_refusal("an output twice", INVALID, "duplicate output tensor alias: sum", "pair", ["sum", "sum"], x=X, q=X)
_refusal("the graph refuses", INVALID, "assertion failed: [positive is not allowed]", "fails")


def _answered(name: str, data: Any, shape: list[int], values: list[float]) -> None:
    def case(calls: Any) -> None:
        tensor = calls.predict(servers.request("arithmetic", "", {"x": data})).outputs["y"]
        assert [dim.size for dim in tensor.tensor_shape.dim] == shape
        assert list(tensor.float_val) == values

    PLAIN["Predict"][name] = case


_answered("an empty signature name is serving_default", X, [2], [2.5, 4])
_answered("fewer values: the last repeats", wire.tensor(1, (3,), wire.field(5, 5, X[:1].tobytes())), [3], [2.5] * 3)
_answered("no values: zeros", wire.tensor(1, (2,)), [2], [2, 2])
_answered("too many values: cut", wire.tensor(1, (1,), wire.field(5, wire.LENGTH, X.tobytes())), [1], [2.5])
_answered("another rank is left to the graph", X[:, np.newaxis], [2, 1], [2.5, 4])
_answered("no rows", wire.tensor(1, (0,)), [0], [])
_answered("no shape: a scalar", wire.field(1, wire.VARINT, b"\x01"), [], [2])


def _case(table: dict[str, Case]) -> Callable[[Case], Case]:
    def add(case: Case) -> Case:
        table[case.__name__.replace("_", " ")] = case
        return case

    return add


@_case(PLAIN["Predict"])
def the_answer_names_model_version_and_signature(calls: Any) -> None:
    spec = calls.predict(servers.request("arithmetic", "", {"x": X})).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("arithmetic", 5, "serving_default")


@_case(PLAIN["Predict"])
def an_output_filter_is_kept_to(calls: Any) -> None:
    answer = calls.predict(servers.request("arithmetic", "pair", {"x": X, "q": X}, ["sum"]))
    assert set(answer.outputs) == {"sum"}
    assert list(answer.outputs["sum"].float_val) == [2, 8]


@_case(PLAIN["Predict"])
def unversioned_is_the_largest(calls: Any) -> None:
    assert calls.embed(b"ab") == (2, [toy_models.embedding(b"ab", 2.0).tolist()])


@_case(PLAIN["Predict"])
def a_version_that_is_named_answers(calls: Any) -> None:
    assert calls.embed(b"ab", version=1) == (1, [toy_models.embedding(b"ab", 1.0).tolist()])


@_case(PLAIN["Predict"])
def labels_choose_the_version(calls: Any) -> None:
    assert [calls.embed(b"a", label=label)[0] for label in ("stable", "canary")] == [1, 2]


@_case(PLAIN["Predict"])
def garbage_bytes(calls: Any) -> None:
    method = calls.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    refused(lambda: method(b"\xff\xff garbage", timeout=30), Code.INTERNAL, "")


def _unserved(path: str) -> None:
    def case(calls: Any) -> None:
        method = calls.channel.unary_unary(f"/tensorflow.serving.{path}")
        refused(lambda: method(b"", timeout=30), Code.UNIMPLEMENTED, "")

    PLAIN["Predict"][f"not served: {path}"] = case


for _path in ("PredictionService/Nonsense", "SessionService/SessionRun", "PredictionService/PredictStreamed"):
    _unserved(_path)

_FIELDS = {
    "float32": "float_val", "float64": "double_val", "int8": "int_val", "int16": "int_val", "int32": "int_val",
    "uint8": "int_val", "uint16": "int_val", "int64": "int64_val", "bool": "bool_val", "float16": "half_val",
    "bfloat16": "half_val", "string": "string_val",
}  # fmt: skip


def _encoded(dtype: str, field: str) -> None:
    def case(calls: Any) -> None:
        import tensorflow as tf

        values = {name: np.array([1, 0, 1]).astype(tf.as_dtype(name).as_numpy_dtype) for name in toy_models.ECHOED}
        values["string"] = np.array([b"a\0", b"", b"\xff"], object)
        inputs = {f"i{name}": value for name, value in values.items()}
        tensor = calls.predict(servers.request("arithmetic", "types", inputs, [dtype])).outputs[dtype]
        assert {each.name for each, _ in tensor.ListFields()} == {"dtype", "tensor_shape", field}
        assert tf.make_ndarray(tensor).tolist() == values[dtype].tolist()

    PLAIN["Encoding"][f"{dtype} in {field}"] = case


for _dtype, _field in _FIELDS.items():
    _encoded(_dtype, _field)


def _signature(name: str, output: str, expected: Callable[[bytes], Any]) -> None:
    def case(calls: Any) -> None:
        import tensorflow as tf

        texts = [b"abc", b"", b"\xff\0x", b"a longer text than fits into it"]
        asked = servers.request("text", name, {"text": np.array(texts, object)}, version=1)
        rows = tf.make_ndarray(calls.predict(asked).outputs[output])
        for row, text in zip(rows, texts, strict=True):
            value = np.asarray(expected(text))
            # Padded to the longest of the batch.
            np.testing.assert_allclose(row[: len(value)], value, rtol=1e-6)
            assert not np.any(row[len(value) :])

    PLAIN["Signatures"][f"{name}: {output}"] = case


_signature("embed", "embedding", toy_models.embedding)
_signature("pooled", "pooled_output", toy_models.pooled)
_signature("sequence", "sequence_output", toy_models.vectors)
_signature("tokenize", "input_word_ids", toy_models.ids)


@_case(PLAIN["Status"])
def states_the_largest_version_first(calls: Any) -> None:
    assert calls.status("text") == [(2, 30, 0), (1, 30, 0)]


@_case(PLAIN["Status"])
def state_of_one_version(calls: Any) -> None:
    assert calls.status("text", 1) == [(1, 30, 0)]


@_case(PLAIN["Status"])
def states_of_nothing(calls: Any) -> None:
    refused(lambda: calls.status("nope"), Code.NOT_FOUND, "Could not find any versions of model nope")
    refused(lambda: calls.status("text", 7), Code.NOT_FOUND, "Could not find version 7 of model text")


@_case(PLAIN["Status"])
def metadata_of_the_version_asked_for(calls: Any) -> None:
    assert calls.metadata("text", "signature_def", version=1)[0] == 1
    version, signatures = calls.metadata("text", "signature_def")
    assert version == 2
    assert {"embed", "pooled", "sequence", "tokenize", "serving_default"} <= set(signatures)
    assert signatures["embed"].inputs["text"].dtype == 7


@_case(PLAIN["Status"])
def metadata_refused(calls: Any) -> None:
    refused(lambda: calls.metadata("text", "foo"), INVALID, "Metadata field foo is not supported")
    refused(lambda: calls.metadata("text"), INVALID, "GetModelMetadataRequest must specify at least one metadata_field")
    refused(lambda: calls.metadata("nope", "signature_def"), Code.NOT_FOUND, "Servable not found for request: Latest")


@_case(PLAIN["Health"])
def health(calls: Any) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(calls.channel)
    for name in ("", "ModelService", "PredictionService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=30).status == 1
    refused(lambda: stub.Check(health_pb2.HealthCheckRequest(service="no"), timeout=30), Code.NOT_FOUND, "")


@_case(BATCHED)
def callers_in_one_batch_get_their_own_rows(calls: Any) -> None:
    import tensorflow as tf

    texts = [b"a", b"bcdefg", b"hi", b"jklm"]
    asked = [servers.request("text", "embed", {"text": np.array([text], object)}) for text in texts]
    for text, future in zip(texts, [calls.prediction.Predict.future(each, timeout=30) for each in asked], strict=True):
        (row,) = tf.make_ndarray(future.result().outputs["embedding"])
        np.testing.assert_allclose(row, toy_models.embedding(text, 2.0), rtol=1e-6)


@_case(BATCHED)
def callers_in_one_batch_see_each_others_padding(calls: Any) -> None:
    asked = [servers.request("text", "tokenize", {"text": np.array([text], object)}) for text in (b"a", b"bcdefg")]
    # As often as it takes: whether two calls meet in one batch is a matter of time.
    for _ in range(20):
        futures = [calls.prediction.Predict.future(each, timeout=30) for each in asked]
        if futures[0].result().outputs["input_word_ids"].tensor_shape.dim[1].size == 8:
            return
    raise AssertionError("never batched")


def _batched(name: str, code: Code, message: str, signature: str, inputs: dict[str, Any]) -> None:
    def case(calls: Any) -> None:
        refused(lambda: calls.predict(servers.request("arithmetic", signature, inputs)), code, message)

    BATCHED[name] = case


_batched("too many rows", INVALID, "Task size 5 is larger than maximum input batch size 4", "", {"x": np.ones(5, "f4")})
_batched("a scalar input", INVALID, "Batching Run() input tensors must have at least one dimension", "scalar",
         {"x": np.float32(1)})  # fmt: skip
_batched("unequal rows", INVALID, "Batching Run() input tensors must have equal 0th-dimension size", "pair",
         {"x": np.ones(2, "f4"), "q": np.ones(1, "f4")})  # fmt: skip
