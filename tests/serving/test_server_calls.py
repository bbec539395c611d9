"""Calls to the embedded server with the official stubs: encodings of strings, many callers, empty batches."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import toy_models
import wire

STRING = 7


@pytest.fixture
def words(text_server: Any) -> Any:
    """The stub of tensorflow-serving-api, for the text model."""
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with grpc.insecure_channel(text_server.address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(model: str, signature: str, name: str, data: bytes, *outputs: str) -> Any:
    """A request with one input; ``data`` is its serialized TensorProto."""
    from tensorflow_serving.apis import predict_pb2

    asked = predict_pb2.PredictRequest(output_filter=outputs)
    asked.model_spec.name = model
    asked.model_spec.signature_name = signature
    asked.inputs[name].MergeFromString(data)
    return asked


def array(proto: Any) -> Any:
    import tensorflow as tf

    return tf.make_ndarray(proto)


def values(*texts: bytes) -> bytes:
    return b"".join(wire.field(8, wire.LENGTH, text) for text in texts)


def content(*texts: bytes) -> bytes:
    lengths = b"".join(wire.varint(len(text)) for text in texts)
    return wire.field(4, wire.LENGTH, lengths + b"".join(texts))


TEXTS = [b"a\0", b"", b"\xff" * 200]


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (wire.tensor(STRING, (3,), values(*TEXTS)), TEXTS),
        (wire.tensor(STRING, (3,), content(*TEXTS)), TEXTS),
        (wire.tensor(STRING, (3,), values(b"x", b"yz")), [b"x", b"yz", b"yz"]),
        (wire.tensor(STRING, (2,)), [b"", b""]),
        (wire.tensor(STRING, (1,), values(b"x", b"yz")), [b"x"]),
    ],
    ids=["string_val", "tensor_content", "fewer than the shape", "none", "too many"],
)
def test_strings_arrive_in_every_encoding(words: Any, data: bytes, texts: list[bytes]) -> None:
    answer = words.Predict(request("text", "tokenize", "text", data, "input_word_ids", "input_mask"))
    ids, mask = (array(answer.outputs[name]) for name in ("input_word_ids", "input_mask"))
    assert [row[kept == 1].tolist() for row, kept in zip(ids, mask, strict=True)] == [
        toy_models.ids(text) for text in texts
    ]


@pytest.mark.parametrize(
    "data",
    [
        wire.tensor(STRING, (2,), wire.field(4, wire.LENGTH, b"\x01\xc8\x01ab")),
        wire.tensor(STRING, (2,), wire.field(4, wire.LENGTH, b"\x80")),
        wire.tensor(STRING, (-1,), values(b"a")),
        wire.tensor(STRING, (2**31, 2**31), values(b"a")),
    ],
    ids=["lengths past the end", "a length cut", "a negative dimension", "a huge dimension"],
)
def test_strings_that_contradict_themselves_are_refused(words: Any, data: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        words.Predict(request("text", "tokenize", "text", data))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "tensor parsing error: text"


@pytest.mark.parametrize("signature", ["embed", "pooled", "sequence", "tokenize"])
def test_an_empty_batch_has_empty_answers_of_every_output(words: Any, signature: str) -> None:
    answer = words.Predict(request("text", signature, "text", wire.tensor(STRING, (0,))))
    assert answer.outputs
    for proto in answer.outputs.values():
        assert proto.tensor_shape.dim[0].size == 0
        # It has only a dtype and a shape.
        assert {field.name for field, _ in proto.ListFields()} == {"dtype", "tensor_shape"}


def test_many_callers_each_get_their_own_answer(official: Any) -> None:
    def ask(number: int) -> tuple[list[float], list[float]]:
        sent = np.arange(number, number + number % 7 + 1, dtype=np.float32)
        data = wire.tensor(1, sent.shape, wire.field(4, wire.LENGTH, sent.tobytes()))
        return list(official.Predict(request("arithmetic", "", "x", data)).outputs["y"].float_val), list(sent / 2 + 2)

    with ThreadPoolExecutor(32) as pool:
        for answered, expected in pool.map(ask, range(1000)):
            assert answered == expected


def test_what_the_graph_refuses_fails_that_call_alone(official: Any) -> None:
    def ask(value: float) -> grpc.StatusCode:
        sent = wire.tensor(1, (1,), wire.field(4, wire.LENGTH, np.float32([value]).tobytes()))
        try:
            answer = official.Predict(request("arithmetic", "fails", "x", sent))
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        assert list(answer.outputs["y"].float_val) == [value]
        return grpc.StatusCode.OK

    with ThreadPoolExecutor(16) as pool:
        for value, code in zip([-1.0, 1.0] * 50, pool.map(ask, [-1.0, 1.0] * 50), strict=True):
            assert code is (grpc.StatusCode.OK if value < 0 else grpc.StatusCode.INVALID_ARGUMENT)


def test_an_output_filter_is_prepared_once_whatever_its_order(model_root: Path) -> None:
    from rawbert.serving.server.runtime import SavedModel

    model = SavedModel(model_root / "text" / "3")
    texts = {"text": np.array([b"ab"], object)}
    for names in permutations(("input_word_ids", "input_mask", "token_count")):
        answer = model.run("tokenize", texts, names)
        assert {name: value.tolist() for name, value in answer.items()} == {
            "input_word_ids": [toy_models.ids(b"ab")],
            "input_mask": [[1, 1, 1, 1]],
            "token_count": [4],
        }
    # Each order needs about 1 MB and 0.3 s, and there are 1,956 orders of six outputs.
    assert model._prepared.cache_info().currsize == 1
    # The tensors of an export's serving_default are those of another signature.
    model.signatures = {"serving_default": model.signatures["tokenize"]}
    assert model.run("serving_default", texts, names)["token_count"].tolist() == [4]
    assert model._prepared.cache_info().currsize == 1
    model.close()


def test_few_of_all_output_filters_stay_prepared(model_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rawbert.serving.server import runtime

    monkeypatch.setattr(runtime, "_MOST_CALLABLES", 3)
    model = runtime.SavedModel(model_root / "text" / "3")
    texts = {"text": np.array([b"ab"], object)}
    for names in combinations(toy_models.TOKEN_OUTPUTS, 2):
        assert list(model.run("tokenize", texts, names)) == sorted(names)
        assert model._prepared.cache_info().currsize <= 3
    assert model.run("tokenize", texts, ["token_count"])["token_count"].tolist() == [4]
    model.close()


def test_calls_beyond_the_threads_are_refused_and_health_is_not(model_root: Path) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from rawbert.serving.server import EmbeddedServer
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    steps = wire.tensor(3, (1,), wire.field(4, wire.LENGTH, np.int32([30_000]).tobytes()))
    flags = {"grpc_max_threads": 2, "enable_grpc_healthcheck_service": True}
    with (
        EmbeddedServer("arithmetic", model_root / "arithmetic", **flags) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        quick = request("arithmetic", "", "x", wire.tensor(1, (1,), wire.field(4, wire.LENGTH, b"\0" * 4)))
        stub.Predict(quick)
        slow = [stub.Predict.future(request("arithmetic", "slow", "steps", steps)) for _ in range(12)]
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == 1
        ends = [(call.code(), call.details()) for call in slow]
        assert ends.count((grpc.StatusCode.OK, "")) == 1
        assert ends.count((grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")) == 11
        # The next call is accepted at once, whether the previous one was answered or refused.
        for _ in range(100):
            stub.Predict(quick)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(request("nope", "", "x", b""))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        # Invalid messages do not change the count.
        nonsense = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for _ in range(20):
            with pytest.raises(grpc.RpcError):
                nonsense(b"\xff")
        end = time.monotonic() + 60
        while server._threads.calls:
            assert time.monotonic() < end
            time.sleep(0.01)
        stub.Predict(quick)
