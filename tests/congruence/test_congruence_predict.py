"""Predict: refusals, their messages, and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import servers
import toy_models
import wire
from cases import INVALID, Code, refusal, refused, row

X = np.float32([1, 4])


def _asks(signature: str = "", outputs: Any = (), model: str = "arithmetic", inputs: Any = None, **spec: Any) -> Any:
    return lambda: servers.request(model, signature, {"x": X} if inputs is None else inputs, outputs, **spec)


def _without_spec() -> Any:
    asked = servers.request("", "", {"x": X})
    asked.ClearField("model_spec")
    return asked


#: Name -> (row, request, status, how the message begins).
REFUSED: dict[str, tuple[str, Callable[[], Any], Code, str]] = {
    "signature": (
        "an unknown signature", _asks("nope"), Code.FAILED_PRECONDITION,
        'Serving signature key "nope" not found.',
    ),
    "model": (
        "an unknown model or version", _asks(model="nope"), Code.NOT_FOUND,
        "Servable not found for request: Latest(nope)",
    ),
    "version": (
        "an unknown model or version", _asks(version=9), Code.NOT_FOUND,
        "Servable not found for request: Specific(arithmetic, 9)",
    ),
    "no model_spec": ("no model_spec", _without_spec, INVALID, "Missing ModelSpec"),
    "empty name": ("an empty name", _asks(model=""), INVALID, "ModelSpec has no name specified."),
    "label": (
        "an unknown label", _asks(label="nolabel"), INVALID, "Unrecognized servable version label: nolabel",
    ),
    "input name": (
        "another input name", _asks(inputs={"z": X}), INVALID,
        "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value provided. "
        "Inputs expected to be in the request {z}, or default input alias set: ",
    ),
    "extra input": (
        "more inputs, or fewer", _asks(inputs={"x": X, "q": X}), INVALID,
        "input size does not match signature: 2!=1 len({q,x}) != len({x}). Sent extra: {q}. Missing but required: {}.",
    ),
    "missing input": (
        "more inputs, or fewer", _asks("pair"), INVALID,
        "input size does not match signature: 1!=2 len({x}) != len({q,x}). Sent extra: {}. Missing but required: {q}.",
    ),
    "dtype": (
        "another dtype", _asks(inputs={"x": np.int32([1])}), INVALID,
        "Expects arg[0] to be float but int32 is provided",
    ),
    "output": (
        "an unknown output", _asks("pair", ["zz"], inputs={"x": X, "q": X}), INVALID,
        "output tensor alias not found in signature: zz Outputs expected to be in the set {difference,sum}.",
    ),
    "output twice": (
        "an unknown output; a repeated one", _asks("pair", ["sum", "sum"], inputs={"x": X, "q": X}), INVALID,
        "duplicate output tensor alias: sum",
    ),
    **{
        name: ("content too short, a negative or huge dimension, no or an unknown dtype", _asks(inputs={"x": data}),
               INVALID, "tensor parsing error: x")
        for name, data in {
            "content too short": wire.tensor(1, (2,), wire.field(4, wire.LENGTH, b"\0" * 4)),
            "negative dimension": wire.tensor(1, (-1,)),
            "huge dimension": wire.tensor(1, (2**62,)),
            "dtype 0": wire.tensor(0, (1,)),
            "unknown dtype": wire.tensor(77, (1,)),
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("Predict", REFUSED[name][0])) for name in REFUSED])
def test_refused(plain: Any, name: str) -> None:
    _, asked, code, message = REFUSED[name]
    refused(lambda: plain.predict(asked()), code, message)
    # The server still runs.
    assert plain.array("arithmetic", "", "y", {"x": X}).tolist() == [2.5, 4]


@row("Predict", "an assertion of the graph")
def test_the_graph_refuses(plain: Any) -> None:
    code, message = refusal(lambda: plain.predict(_asks("fails")()))
    assert code is INVALID
    # What stands around it depends on how the graph was taken apart.
    assert "assertion failed: [positive is not allowed]" in message


#: Name -> (words of the page, tensor, shape of the answer, its values).
ANSWERED: dict[str, tuple[str, Any, list[int], list[float]]] = {
    "no signature name": ("An empty signature name is `serving_default`", X, [2], [2.5, 4]),
    "fewer values": (
        "the last one is repeated", wire.tensor(1, (3,), wire.field(5, 5, X[:1].tobytes())),
        [3], [2.5] * 3,
    ),
    "no values": ("without values, all are zero or empty strings", wire.tensor(1, (2,)), [2], [2, 2]),
    "too many values": (
        "too many values are cut", wire.tensor(1, (1,), wire.field(5, wire.LENGTH, X.tobytes())), [1], [2.5],
    ),
    "another rank": ("The rank is not checked before the graph runs", X[:, np.newaxis], [2, 1], [2.5, 4]),
    "no rows": ("A request without rows gets an answer without rows", wire.tensor(1, (0,)), [0], []),
    "no shape": ("A missing shape means a scalar", wire.field(1, wire.VARINT, b"\x01"), [], [2]),
    "unknown rank": (
        "A missing shape means a scalar",
        wire.field(1, wire.VARINT, b"\x01") + wire.field(2, wire.LENGTH, wire.field(3, wire.VARINT, b"\x01")), [], [2],
    ),
    "tensor_content": (
        "Requests may use `tensor_content` or the field of the dtype",
        wire.tensor(1, (2,), wire.field(4, wire.LENGTH, X.tobytes())), [2], [2.5, 4],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("Predict", ANSWERED[name][0])) for name in ANSWERED])
def test_answered(plain: Any, name: str) -> None:
    _, data, shape, values = ANSWERED[name]
    tensor = plain.predict(servers.request("arithmetic", "", {"x": data})).outputs["y"]
    assert [dim.size for dim in tensor.tensor_shape.dim] == shape
    assert list(tensor.float_val) == values


TEXTS = [b"a\0", b"", b"\xff" * 12]


def _strings(*texts: bytes) -> bytes:
    return b"".join(wire.field(8, wire.LENGTH, text) for text in texts)


STRINGS: dict[str, tuple[str, bytes, list[bytes]]] = {
    "string_val": ("Requests may use `tensor_content` or the field", wire.tensor(7, (3,), _strings(*TEXTS)), TEXTS),
    "tensor_content": (
        "Requests may use `tensor_content` or the field of the dtype, for strings too",
        wire.tensor(7, (3,), wire.field(4, wire.LENGTH, bytes(map(len, TEXTS)) + b"".join(TEXTS))), TEXTS,
    ),
    "fewer": ("the last one is repeated", wire.tensor(7, (3,), _strings(b"x", b"yz")), [b"x", b"yz", b"yz"]),
    "none": ("without values, all are zero or empty strings", wire.tensor(7, (2,)), [b"", b""]),
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("Predict", STRINGS[name][0])) for name in STRINGS])
def test_strings(plain: Any, name: str) -> None:
    _, data, texts = STRINGS[name]
    rows = plain.array("text", "tokenize", "input_word_ids", {"text": data})
    assert [[each for each in row if each] for row in rows.tolist()] == [toy_models.ids(text) for text in texts]


@row("Predict", "Bytes that are not UTF-8 reach the graph unchanged")
def test_invalid_utf8(plain: Any) -> None:
    (ids,) = plain.array("text", "tokenize", "input_word_ids", {"text": np.array([b"\xc3\x28\xff"], object)})
    assert ids.tolist() == toy_models.ids(b"\xc3\x28\xff")


@row("Predict", "the answer names model, version and signature")
def test_the_answer_names_what_answered(plain: Any) -> None:
    for asked, signature in (("", "serving_default"), ("pair", "pair")):
        inputs = {"x": X, "q": X} if asked else {"x": X}
        spec = plain.predict(servers.request("arithmetic", asked, inputs)).model_spec
        assert (spec.name, spec.version.value, spec.signature_name) == ("arithmetic", 5, signature)


@row("Predict", "An `output_filter` is applied")
def test_an_output_filter(plain: Any) -> None:
    answer = plain.predict(servers.request("arithmetic", "pair", {"x": X, "q": X}, ["sum"]))
    assert set(answer.outputs) == {"sum"}
    assert list(answer.outputs["sum"].float_val) == [2, 8]
    assert set(plain.predict(servers.request("arithmetic", "pair", {"x": X, "q": X})).outputs) == {"sum", "difference"}


@row("Predict", "Without a version the largest available one answers")
def test_unversioned(plain: Any) -> None:
    assert plain.half() == 2


@row("Predict", "a named version or label answers itself")
def test_a_version_that_is_named(plain: Any) -> None:
    assert [plain.half(version=version) for version in (1, 2)] == [1, 2]


@row("Predict", "a named version or label answers itself")
def test_labels(plain: Any) -> None:
    assert [plain.half(label=label) for label in ("stable", "canary")] == [1, 2]


@row("Predict", "bytes that are not a request")
def test_garbage(plain: Any) -> None:
    method = plain.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    # rawbert serve has a text, made by gRPC's Python server.
    refused(lambda: method(b"\xff\xff garbage", timeout=30), Code.INTERNAL)


@row("Predict", "a method that is not served")
@pytest.mark.parametrize(
    "path",
    [
        "tensorflow.serving.PredictionService/Nonsense",
        "tensorflow.serving.PredictionService/PredictStreamed",
        "tensorflow.serving.SessionService/SessionRun",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_methods_that_are_not_served(plain: Any, path: str) -> None:
    # rawbert serve has a text, made by gRPC's Python server.
    refused(lambda: plain.channel.unary_unary(f"/{path}")(b"", timeout=30), Code.UNIMPLEMENTED)


@row("Predict", "Classify or Regress on a signature of another kind")
@pytest.mark.parametrize(
    ("method", "message"),
    [("Classify", "No classification inputs found in SignatureDef: "), ("Regress", "No regression inputs")],
)
def test_classify_and_regress(plain: Any, method: str, message: str) -> None:
    from tensorflow_serving.apis import classification_pb2

    # The fields of a RegressionRequest are the same.
    asked = classification_pb2.ClassificationRequest()
    asked.model_spec.name = "arithmetic"
    asked.input.example_list.examples.add().features.feature["x"].float_list.value.append(1)
    call = plain.channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
    code, found = refusal(lambda: call(asked.SerializeToString(), timeout=30))
    assert code is INVALID
    assert message in found


def _slow(steps: int) -> Any:
    return servers.request("batchable", "slow", {"x": np.float32([steps])})


@row("Predict", "a deadline that has passed")
def test_a_deadline(plain: Any) -> None:
    refused(lambda: plain.predict(_slow(20_000), timeout=0.1), Code.DEADLINE_EXCEEDED)


@row("Predict", "an answer over the client's own limit")
def test_a_large_answer(plain: Any) -> None:
    # And the request, of 4.8 MB too, is none for the server: its limit is not gRPC's 4 MB.
    code, message = refusal(lambda: plain.predict(servers.request("half", "", {"x": np.ones((1_200_000, 1), "f4")})))
    assert code is Code.RESOURCE_EXHAUSTED
    assert "larger than max" in message


@row("Predict", "more concurrent calls than `--grpc_max_threads` less one")
def test_threads_are_used_up(plain: Any) -> None:
    ends = plain.together(*[_slow(10_000)] * 12)
    errors = [(end.code(), end.details()) for end in ends if isinstance(end, Exception)]
    assert set(errors) == {(Code.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")}
    assert 0 < len(ends) - len(errors) <= 7
    assert plain.half() == 2
