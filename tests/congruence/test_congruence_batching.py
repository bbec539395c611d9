"""The batching of calls, for each of its flags.

The signature ``rows`` returns the size of the batch, in each row.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import base_paths
import numpy as np
import pytest
import servers
import toy_models
from cases import AVAILABLE, END, INVALID, LOADING, Code, refused, row, until


def _rows(count: int, model: str = "batchable") -> Any:
    return servers.request(model, "rows", {"x": np.ones(count, "f4")})


def _meet(try_once: Callable[[], bool], tries: int = 40) -> bool:
    """Whether one of several attempts succeeds: it depends on timing whether two calls share a batch."""
    return any(try_once() for _ in range(tries))


def _sizes(calls: Any, *counts: int, model: str = "batchable") -> list[float]:
    """The batch size of each of these calls, when they are made at the same time."""
    import tensorflow as tf

    answers = calls.together(*[_rows(count, model) for count in counts])
    return [tf.make_ndarray(answer.outputs["y"])[0] for answer in answers]


@row("Batching", "Without flags calls are not batched")
def test_not_batched(plain: Any) -> None:
    # Nor by --enable_per_model_batching_parameters alone.
    assert not _meet(lambda: _sizes(plain, 1, 2) != [1, 2], tries=10)
    assert len(plain.array("batchable", "rows", "y", {"x": np.ones(1001, "f4")})) == 1001


@row("Batching", "`--batching_parameters_file`: its values")
def test_callers_share_a_batch(batched: Any) -> None:
    assert _meet(lambda: _sizes(batched, 1, 2) == [3, 3])


@row("Batching", "Each caller gets its own rows")
def test_callers_get_their_own_rows(batched: Any) -> None:
    import tensorflow as tf

    texts = [b"a", b"bcdefg", b"hi", b"jklm"]
    asked = [servers.request("text", "embed", {"text": np.array([text], object)}) for text in texts]
    for text, answer in zip(texts, batched.together(*asked), strict=True):
        (vector,) = tf.make_ndarray(answer.outputs["embedding"])
        np.testing.assert_allclose(vector, toy_models.embedding(text), rtol=1e-6)


@row("Batching", "Callers in one batch see its padding")
def test_callers_see_each_others_padding(batched: Any) -> None:
    asked = [servers.request("text", "tokenize", {"text": np.array([text], object)}) for text in (b"a", b"bcdefg")]

    def together() -> bool:
        short, _ = batched.together(*asked)
        return [dim.size for dim in short.outputs["input_word_ids"].tensor_shape.dim] == [1, 8]

    assert _meet(together)


@row("Batching", "a lone caller waits for `batch_timeout_micros`")
def test_a_lone_caller_waits(batched: Any) -> None:
    _sizes(batched, 1)
    began = time.monotonic()
    assert _sizes(batched, 1) == [1]
    assert time.monotonic() - began >= 0.05


@row("Batching", "An error of the graph for one row fails every call of the batch")
def test_one_bad_row_fails_the_batch(batched: Any) -> None:
    asked = [servers.request("arithmetic", "fails", {"x": np.float32([value])}) for value in (-1, 1)]

    def both() -> bool:
        ends = batched.together(*asked)
        assert ends[1].code() is INVALID
        return isinstance(ends[0], Exception) and ends[0].code() is INVALID

    assert _meet(both)


@pytest.mark.parametrize(
    ("model", "signature", "inputs", "code", "message"),
    [
        pytest.param(
            "arithmetic", "", {"x": np.ones(5, "f4")}, INVALID,
            "Task size 5 is larger than maximum input batch size 4",
            marks=row("Batching", "A call of more rows than `max_batch_size` is refused"), id="too many rows",
        ),
        pytest.param(
            "arithmetic", "scalar", {"x": np.float32(1)}, INVALID,
            "Batching Run() input tensors must have at least one dimension",
            marks=row("Batching", "inputs without dimensions"), id="a scalar input",
        ),
        pytest.param(
            "arithmetic", "pair", {"x": np.ones(2, "f4"), "q": np.ones(1, "f4")}, INVALID,
            "Batching Run() input tensors must have equal 0th-dimension size",
            marks=row("Batching", "with unequal numbers of rows"), id="unequal rows",
        ),
        pytest.param(
            "batchable", "total", {"x": np.ones(2, "f4")}, Code.FAILED_PRECONDITION,
            "Batched output tensor has 0 dimensions",
            marks=row("Batching", "an output without dimensions"), id="a scalar output",
        ),
        pytest.param(
            "batchable", "first", {"x": np.ones(2, "f4")}, Code.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
            "tensors",
            marks=row("Batching", "an output with another number of rows than the inputs"), id="another number of rows",
        ),
    ],
)  # fmt: skip
def test_refused(batched: Any, model: str, signature: str, inputs: Any, code: Code, message: str) -> None:
    refused(lambda: batched.predict(servers.request(model, signature, inputs)), code, message)


@row("Batching", "rows of unequal inner shape")
def test_unequal_inner_shapes(batched: Any) -> None:
    asked = [servers.request("batchable", "inner", {"x": np.ones((1, width), "f4")}) for width in (2, 3)]

    def both() -> bool:
        ends = batched.together(*asked)
        failed = [isinstance(end, Exception) and end.code() is Code.FAILED_PRECONDITION for end in ends]
        assert failed[0] == failed[1]
        return failed[0]

    assert _meet(both)


@row("Batching", "A call without rows waits for other calls")
def test_no_rows(batched: Any) -> None:
    asked = servers.request("text", "pooled", {"text": np.array([], object)})
    if batched.rawbert:  # It answers at once.
        assert batched.predict(asked, timeout=10).outputs["pooled_output"].tensor_shape.dim[0].size == 0
    else:
        refused(lambda: batched.predict(asked, timeout=1), Code.DEADLINE_EXCEEDED)


@pytest.fixture(scope="module")
def own(program: Any, paths: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """Calls to a server whose models have separate batching parameters, or none; and the folder of its models."""
    root = tmp_path_factory.mktemp("own")
    files = {
        "own": "max_batch_size { value: 4 } batch_timeout_micros { value: 100000 } "
        "allowed_batch_sizes: 2 allowed_batch_sizes: 4",
        "queue": "max_batch_size { value: 1 } batch_timeout_micros { value: 0 } max_enqueued_batches { value: 1 }",
        "none": "",
    }
    for name, text in files.items():
        folder = base_paths.publish(paths / "batchable" / "1", root / name, "1")
        if text:
            (folder / "batching_params.pbtxt").write_text(text)
    configs = " ".join([*(base_paths.config(root, name) for name in files), base_paths.config(paths, "bundle")])
    (root / "models.config").write_text(f"model_config_list {{ {configs} }}")
    # Only the threads count: a batch at a time.
    (root / "batching").write_text("max_batch_size { value: 3 } num_batch_threads { value: 1 }")
    flags = [
        *base_paths.QUICK,
        f"--model_config_file={root}/models.config",
        "--enable_batching=true",
        "--enable_per_model_batching_parameters=true",
        f"--batching_parameters_file={root}/batching",
        "--grpc_max_threads=32",
    ]
    with servers.running(program, *flags) as calls:
        yield calls, root


@row("Batching", "of the model's own `batching_params.pbtxt`")
def test_a_model_s_own_parameters(own: Any) -> None:
    calls, _ = own
    message = "Task size 5 is larger than maximum input batch size 4"
    refused(lambda: calls.predict(_rows(5, "own")), INVALID, message)
    assert len(calls.array("own", "rows", "y", {"x": np.ones(4, "f4")})) == 4
    began = time.monotonic()
    _sizes(calls, 1, model="own")
    assert time.monotonic() - began >= 0.1


@row("Batching", "is filled up to the next of `allowed_batch_sizes`")
def test_allowed_batch_sizes(own: Any) -> None:
    calls, _ = own
    assert [_sizes(calls, count, model="own") for count in (1, 2, 3)] == [[2], [2], [4]]


@row("Batching", "A model without that file is not batched")
def test_a_model_without_parameters(own: Any) -> None:
    calls, _ = own
    assert not _meet(lambda: _sizes(calls, 1, 2, model="none") != [1, 2], tries=10)
    assert len(calls.array("none", "rows", "y", {"x": np.ones(5, "f4")})) == 5


@row("Batching", "An exported bundle contains `batching_params.pbtxt` and warmup records")
def test_an_exported_bundle(own: Any, golden: Any) -> None:
    import tensorflow as tf

    texts, _, arrays = golden
    asked = [servers.request("bundle", "embed", {"text": np.array([text.encode()], object)}) for text in texts]
    vectors = [tf.make_ndarray(answer.outputs["embedding"])[0] for answer in own[0].together(*asked)]
    np.testing.assert_allclose(vectors, arrays["mean_dense_normalize"], atol=1e-5)


@row("Batching", "A full queue is UNAVAILABLE")
def test_a_full_queue(own: Any) -> None:
    calls, _ = own
    ends = calls.together(*[servers.request("queue", "slow", {"x": np.float32([10_000])})] * 6)
    full = [end for end in ends if isinstance(end, Exception)]
    assert 0 < len(full) < 6
    for end in full:
        assert end.code() is Code.UNAVAILABLE
        assert end.details() == (
            "The batch scheduling queue to which this task was submitted is full; currently 1 batches enqueued and "
            "max_enqueued_batches is 1"
        )


@row("Batching", "A file that does not parse fails its version")
def test_parameters_that_do_not_parse(own: Any) -> None:
    calls, root = own
    folder = root / "none" / "2"
    base_paths.publish(
        root / "none" / "1", root / "none", "2", lambda new: (new / "batching_params.pbtxt").write_text("nonsense")
    )
    until(lambda: (2, END, 3) in calls.status("none"))
    (status,) = calls.statuses("none", 2)
    assert f"Invalid protobuf file: '{folder}/batching_params.pbtxt'" in status.status.error_message
    assert calls.predict(_rows(1, "none")).model_spec.version.value == 1


@pytest.fixture(scope="module")
def default(program: Any, paths: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """Calls to a server with only ``--enable_batching``, which tries each load twice, 2 s apart."""
    root = tmp_path_factory.mktemp("default")
    folder = base_paths.publish(paths / "batchable" / "1", root / "batchable", "1")
    (folder / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")
    base_paths.publish(paths / "half" / "1", root / "half", "1")
    (root / "half" / "0").mkdir()
    configs = " ".join(base_paths.config(root, name) for name in ("batchable", "half"))
    (root / "models.config").write_text(f"model_config_list {{ {configs} }}")
    flags = [
        f"--model_config_file={root}/models.config",
        "--enable_batching=true",
        "--max_num_load_retries=1",
        "--load_retry_interval_micros=2000000",
        "--file_system_poll_wait_seconds=1",
    ]
    with servers.running(program, *flags) as calls:
        yield calls, root


@row("Batching", "`--enable_batching` alone: `max_batch_size` 1000")
def test_batching_without_parameters(default: Any) -> None:
    calls, _ = default
    message = "Task size 1001 is larger than maximum input batch size 1000"
    refused(lambda: calls.predict(_rows(1001)), INVALID, message)


@row("Batching", "without `--enable_per_model_batching_parameters` the file in the version folder is not read")
def test_a_file_without_its_flag(default: Any) -> None:
    calls, _ = default
    assert _sizes(calls, 5) == [5]


@row("Start", "the newest version cannot be loaded, or, with other policies than `latest`, any version")
def test_an_older_version_that_is_broken(default: Any) -> None:
    calls, _ = default
    assert calls.status("half") == [(1, AVAILABLE, 0)]


@row("Loading", "Until the last attempt it is LOADING, without a message")
def test_a_load_is_tried_again(default: Any, paths: Path) -> None:
    calls, root = default
    empty = root / "half" / "2"
    empty.mkdir()
    until(lambda: (2, LOADING, 0) in calls.status("half"))
    began = time.monotonic()
    while time.monotonic() - began < 1:
        assert calls.status("half", 2) == [(2, LOADING, 0)]
        assert not calls.statuses("half", 2)[0].status.error_message
        assert calls.half() == 1
        time.sleep(0.1)
    until(lambda: (2, END, 5) in calls.status("half"))
    # Repaired in place: the server does not try it again.
    shutil.copytree(paths / "half" / "2", empty, dirs_exist_ok=True)
    time.sleep(2.5)
    assert calls.status("half", 2) == [(2, END, 5)]
    assert calls.half() == 1
