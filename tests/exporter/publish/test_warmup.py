"""Warmup records: TensorFlow's reader and the official protos can read them, and the server answers each record."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from rawbert.exporter.publish import warmup
from rawbert.exporter.recipe import Recipe


def records(folder: Path) -> list[Any]:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    return [
        prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))
    ]


def texts(log: Any, name: str = "text") -> list[bytes]:
    import tensorflow as tf

    values: list[bytes] = tf.make_ndarray(log.predict_log.request.inputs[name]).tolist()
    return values


def test_every_signature_has_records_of_all_sizes(tiny_bundle: Any) -> None:
    logs = records(tiny_bundle.path)
    assert len(logs) == tiny_bundle.manifest["warmup_records"] <= 1000
    assert all(log.WhichOneof("log_type") == "predict_log" for log in logs)
    specs = [log.predict_log.request.model_spec for log in logs]
    assert {spec.name for spec in specs} == {"bert"}
    counts = Counter(spec.signature_name for spec in specs)
    assert counts.keys() == tiny_bundle.signatures.keys()
    assert set(counts.values()) == {5}
    largest = tiny_bundle.manifest["batching"]["max_execution_batch_size"]
    for name in counts:
        mine = [texts(log) for log in logs if log.predict_log.request.model_spec.signature_name == name]
        assert sorted(map(len, mine)) == [1, 1, 1, 8, largest]
        assert any(not text.isascii() for batch in mine for text in batch)


def test_one_record_reaches_the_greatest_length(tiny_bundle: Any) -> None:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    tokenize = tf.saved_model.load(str(tiny_bundle.path)).signatures["tokenize"]
    longest = max(tokenize(text=tf.constant(texts(log)))["input_mask"].shape[1] for log in records(tiny_bundle.path))
    assert longest == tiny_bundle.manifest["recipe"]["max_seq_length"]


def test_every_record_replays_through_the_official_stub(hub_native_bundle: Any) -> None:
    from rawbert.serving.server import EmbeddedServer
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with (
        EmbeddedServer("bert", hub_native_bundle.base_path) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for log in records(hub_native_bundle.path):
            request = log.predict_log.request
            answer = stub.Predict(request, timeout=60)
            rows = request.inputs["text"].tensor_shape.dim[0].size
            assert all(tensor.tensor_shape.dim[0].size == rows for tensor in answer.outputs.values())


def test_records_are_the_same_every_time(tiny_bundle: Any, tmp_path: Path) -> None:
    recipe = Recipe.from_json(tiny_bundle.manifest["recipe"])
    warmup.write(tmp_path, "bert", recipe, tiny_bundle.manifest["batching"]["max_execution_batch_size"])
    file = Path("assets.extra", "tf_serving_warmup_requests")
    assert (tmp_path / file).read_bytes() == (tiny_bundle.path / file).read_bytes()


def first_over_median(folder: Path, calls: dict[str, tuple[str, list[str]]], rounds: int) -> dict[str, float]:
    """Load and warm up again, and make each call in turn; returns the first duration divided by the median of the rest.

    Calls alternate as on a real server. A call after one of the same kind finds its data in the processor's caches,
    which no warmup can achieve: ``tokenize`` then takes 0.2 ms, but 0.5 ms after an ``embed``.
    """
    import numpy as np
    import tensorflow as tf
    from rawbert.serving.server.runtime import SavedModel

    model = SavedModel(folder)
    for log in records(folder):
        request = log.predict_log.request
        name = request.model_spec.signature_name
        model.run(name, {"text": tf.make_ndarray(request.inputs["text"])}, sorted(model.signatures[name].outputs))
    seconds: dict[str, list[float]] = {call: [] for call in calls}
    for _ in range(rounds):
        for call, (name, batch) in calls.items():
            inputs = {"text": np.array([text.encode() for text in batch], object)}
            outputs = sorted(model.signatures[name].outputs)
            began = time.perf_counter()
            model.run(name, inputs, outputs)
            seconds[call].append(time.perf_counter() - began)
    model.close()
    return {call: times[0] / statistics.median(times[1:]) for call, times in seconds.items()}


QUESTION = ["How do I reset my password?"]
MIXED = [f"Text number {at} of the batch " + "and so on, " * (at % 9) for at in range(32)]
PARAGRAPH = ["A paragraph of several clauses, which goes on. " * 10]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("calls", "rounds"),
    [
        ({name: (name, QUESTION) for name in ("embed", "pooled", "sequence", "tokenize", "serving_default")}, 15),
        ({"embed 32": ("embed", MIXED), "sequence 32": ("sequence", MIXED), "long": ("embed", PARAGRAPH)}, 8),
    ],
    ids=["a_text", "many_and_long_ones"],
)
def test_the_first_call_is_not_slower_than_the_others(
    minilm_bundle: Any, calls: dict[str, tuple[str, list[str]]], rounds: int
) -> None:
    loads = [first_over_median(minilm_bundle.path, calls, rounds) for _ in range(20)]
    ratios = {call: statistics.median(load[call] for load in loads) for call in calls}
    print("first call over the median call:", {call: round(ratio, 2) for call, ratio in ratios.items()})
    assert max(ratios.values()) <= 1.5, [{call: round(ratio, 2) for call, ratio in load.items()} for load in loads]
