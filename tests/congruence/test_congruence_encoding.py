"""The field of a TensorProto that contains an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import servers
import toy_models
import wire
from cases import row

FIELDS = {
    "float32": "float_val", "float64": "double_val", "int8": "int_val", "int16": "int_val", "int32": "int_val",
    "uint8": "int_val", "uint16": "int_val", "int64": "int64_val", "bool": "bool_val", "float16": "half_val",
    "bfloat16": "half_val", "string": "string_val",
}  # fmt: skip


def _echoed(calls: Any, dtype: str) -> tuple[Any, Any]:
    """An output of this dtype, and the expected array."""
    import tensorflow as tf

    values = {name: np.array([1, 0, 1]).astype(tf.as_dtype(name).as_numpy_dtype) for name in toy_models.ECHOED}
    values["string"] = np.array([b"a\0", b"", b"\xff"], object)
    inputs = {f"i{name}": value for name, value in values.items()}
    answer = calls.predict(servers.request("arithmetic", "types", inputs, [dtype]))
    return answer.outputs[dtype], values[dtype]


def _fields(tensor: Any) -> set[str]:
    return {each.name for each, _ in tensor.ListFields()}


@row("Encoding", "Answers use the field of their dtype")
@pytest.mark.parametrize("dtype", FIELDS)
def test_the_field_of_the_dtype(plain: Any, dtype: str) -> None:
    import tensorflow as tf

    tensor, expected = _echoed(plain, dtype)
    assert _fields(tensor) == {"dtype", "tensor_shape", FIELDS[dtype]}
    assert tf.as_dtype(tensor.dtype).name == dtype
    assert tf.make_ndarray(tensor).tolist() == expected.tolist()


@row("Encoding", "With `--enable_serialization_as_tensor_content` all are in `tensor_content`")
@pytest.mark.parametrize("dtype", [each for each in FIELDS if each != "string"])
def test_tensor_content(batched: Any, dtype: str) -> None:
    tensor, expected = _echoed(batched, dtype)
    assert _fields(tensor) == {"dtype", "tensor_shape", "tensor_content"}
    assert tensor.tensor_content == expected.tobytes()


@row("Encoding", "for strings first their lengths as varints, then their bytes")
def test_tensor_content_of_strings(batched: Any) -> None:
    tensor, _ = _echoed(batched, "string")
    assert _fields(tensor) == {"dtype", "tensor_shape", "tensor_content"}
    assert tensor.tensor_content == b"\x02\x00\x01a\0\xff"


@row("Encoding", "Equal values are all written")
def test_equal_values(plain: Any) -> None:
    answer = plain.predict(servers.request("arithmetic", "", {"x": np.ones(5, "f4")}))
    assert list(answer.outputs["y"].float_val) == [2.5] * 5


@row("Encoding", "an answer without rows has only dtype and shape")
def test_no_rows(plain: Any) -> None:
    answer = plain.predict(servers.request("text", "sequence", {"text": wire.tensor(7, (0,))}))
    assert {"sequence_output", "input_word_ids", "token_count"} <= set(answer.outputs)
    for tensor in answer.outputs.values():
        assert _fields(tensor) == {"dtype", "tensor_shape"}
        assert tensor.tensor_shape.dim[0].size == 0
