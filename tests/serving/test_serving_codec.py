"""The codec, compared with TensorFlow's own protos, ``tf.make_tensor_proto`` and ``tf.make_ndarray``."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import numpy as np
import pytest
import wire
from hypothesis import given, settings
from hypothesis import strategies as st
from rawbert.serving import DecodeError
from rawbert.serving.wire.codec import decode_response, decode_tensor, encode, encode_inputs, encode_texts
from rawbert.serving.wire.protos import TensorProto
from toy_models import ECHOED

FLOAT, DOUBLE, INT32, UINT8, STRING, COMPLEX64, HALF, BFLOAT16 = 1, 2, 3, 4, 7, 8, 19, 14


def decoded(tensor_bytes: bytes) -> np.ndarray:
    _, outputs = decode_response(wire.response("out", tensor_bytes))
    return outputs["out"]


def official(tensor_bytes: bytes) -> Any:
    from tensorflow.core.framework import tensor_pb2

    return tensor_pb2.TensorProto.FromString(tensor_bytes)


def same(left: np.ndarray, right: np.ndarray) -> None:
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    assert left.tobytes() == right.tobytes() if left.dtype != object else left.tolist() == right.tolist()


def sample(name: str) -> np.ndarray:
    """A ``[2, 3]`` array with the extremes of a dtype."""
    if name == "string":
        return np.array([[b"", b"a\0", b"\xff"], ["é".encode(), b"0" * 300, b" "]], object)
    if name == "bool":
        return np.array([[True, False, True], [False, False, True]])
    dtype = np.dtype("float32" if name == "bfloat16" else name)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.array([[limits.min, 0, 1], [2, limits.max - 1, limits.max]], dtype)
    values = np.array([[0.0, -0.0, 1.5], [np.inf, -2.25, np.nan]])
    return (values + 0.5j if dtype.kind == "c" else values).astype(dtype)


@pytest.mark.parametrize("form", ["fields", "content"])
@pytest.mark.parametrize("name", ECHOED)
def test_every_dtype_is_read_as_tensorflow_writes_it(name: str, form: str) -> None:
    import tensorflow as tf
    from rawbert.serving.server.tensors import encode_into

    value = sample(name)
    as_sent = value.astype(tf.bfloat16.as_numpy_dtype) if name == "bfloat16" else value
    if form == "content":
        if name == "string":
            content = b"".join(wire.varint(len(text)) for text in value.flat) + b"".join(value.flat)
        else:
            content = as_sent.tobytes()
        proto = tf.make_tensor_proto(as_sent)
        proto = type(proto)(dtype=proto.dtype, tensor_shape=proto.tensor_shape, tensor_content=content)
        if name != "string":  # which tf.make_ndarray cannot read in this form
            same(tf.make_ndarray(proto), as_sent)
    else:
        proto = official(b"")
        encode_into(proto, as_sent)
        assert not proto.tensor_content
        back = tf.make_ndarray(proto)
        same(back.astype(object) if name == "string" else back, as_sent)
    same(decoded(proto.SerializeToString()), value)


@pytest.mark.parametrize("name", ECHOED)
def test_every_dtype_is_written_as_tensorflow_reads_it(name: str) -> None:
    import tensorflow as tf

    value = sample(name)
    if name == "bfloat16":
        value = value.astype(tf.bfloat16.as_numpy_dtype)
    proto = official(encode(value).SerializeToString())
    back = tf.make_ndarray(proto)
    same(back.astype(object) if name == "string" else back, value)
    assert tf.as_dtype(proto.dtype).name == name


def test_big_endian_and_strided_arrays_are_sent_right() -> None:
    value = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2]
    same(decode_tensor(encode(value)), value.astype("<f4"))


@pytest.mark.parametrize(
    "value",
    [
        ["a\0", "b"],
        [b"a\0", b"b\0\0"],
        [b"a", "é"],
        [["a", "b"], ["c", "d\0"]],
        np.array(["x", "yz"]),
        np.array([b"x", b"yz"]),
        np.array(["x", b"\xff"], object),
        "alone\0",
    ],
    ids=repr,
)
def test_strings_arrive_whole(value: Any) -> None:
    expected = [item if isinstance(item, bytes) else item.encode() for item in np.array(value, object).ravel().tolist()]
    tensor = encode(value)
    assert list(tensor.string_val) == expected
    assert decode_tensor(tensor).shape == np.array(value, object).shape


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        ([["a"], ["b", "c"]], ValueError, "inhomogeneous"),
        (["a", 1], TypeError, "int cannot be sent"),
        (None, TypeError, "NoneType"),
        (["ok", "a\ud800"], ValueError, "position 1: UTF-8 cannot encode it"),
        (np.array(["2024-01-01"], "datetime64[D]"), TypeError, "datetime64"),
        (np.zeros(1, np.longdouble), TypeError, "convert it to one of"),
    ],
    ids=repr,
)
def test_what_cannot_be_sent_says_so(value: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        encode_inputs({"some_input": value})
    assert "some_input" in str(caught.value)


def test_texts() -> None:
    tensor = encode_texts([b"a", b""])
    assert (tensor.dtype, list(tensor.string_val), [dim.size for dim in tensor.tensor_shape.dim]) == (
        7,
        [b"a", b""],
        [2],
    )


# -- valid encodings that no library writes ------------------------------------------------------------------------

CODES = {FLOAT: (5, "f", wire.FIXED32), DOUBLE: (6, "d", wire.FIXED64)}


@st.composite
def spellings(draw: st.DrawFn) -> tuple[int, list[float], list[bytes]]:
    """A dtype, values, and their field as packed chunks (also empty ones) and single values, in order."""
    dtype = draw(st.sampled_from([FLOAT, DOUBLE]))
    number, code, kind = CODES[dtype]
    pieces = draw(st.lists(st.lists(st.floats(width=32), max_size=5), max_size=5))
    fields = []
    for piece in pieces:
        data = [struct.pack(f"<{code}", value) for value in piece]
        if draw(st.booleans()):
            fields.append(wire.field(number, wire.LENGTH, b"".join(data)))
        else:
            fields += [wire.field(number, kind, each) for each in data]
    return dtype, [value for piece in pieces for value in piece], fields


@settings(deadline=None, max_examples=300)
@given(spelling=spellings(), count=st.integers(0, 30), unknown=st.booleans())
def test_any_mixture_of_packed_and_single_values(
    spelling: tuple[int, list[float], list[bytes]], count: int, unknown: bool
) -> None:
    dtype, values, fields = spelling
    if unknown:
        # A field of a later release.
        fields = [*fields, wire.field(99, wire.LENGTH, b"later")]
    filled = values[:count] + [values[-1] if values else 0.0] * (count - len(values))
    expected = np.array(filled, "<f4" if dtype == FLOAT else "<f8")
    data = wire.tensor(dtype, (count,), *fields)
    same(decoded(data), expected)
    same(decode_tensor(TensorProto.FromString(data)), expected)
    if len(values) <= count:
        import tensorflow as tf

        same(tf.make_ndarray(official(data)), expected)


def test_content_stands_before_values() -> None:
    data = wire.tensor(
        FLOAT, (2,), wire.field(4, wire.LENGTH, struct.pack("<2f", 1, 2)), wire.field(5, wire.FIXED32, b"\0\0\0\0")
    )
    assert decoded(data).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("dtype", "number"), [(INT32, 7), (9, 10), (10, 11), (HALF, 13), (BFLOAT16, 13), (22, 16), (23, 17)]
)
def test_varint_fields_packed_or_not(dtype: int, number: int) -> None:
    packed = wire.field(number, wire.LENGTH, b"\x01\x00")
    single = wire.field(number, wire.VARINT, b"\x01")
    both = decoded(wire.tensor(dtype, (3,), packed, single))
    same(both, decoded(wire.tensor(dtype, (3,), wire.field(number, wire.LENGTH, b"\x01\x00\x01"))))
    same(decoded(wire.tensor(dtype, (4,), packed, single)), np.append(both, both[-1]))  # the last repeats
    same(decoded(wire.tensor(dtype, (2,), packed, single)), both[:2])
    assert not decoded(wire.tensor(dtype, (2, 2))).any()


def test_complex_parts() -> None:
    parts = wire.field(9, wire.LENGTH, struct.pack("<4f", 1, 2, 3, 4))
    assert decoded(wire.tensor(COMPLEX64, (3,), parts)).tolist() == [1 + 2j, 3 + 4j, 3 + 4j]
    with pytest.raises(DecodeError, match="half of a complex number"):
        decoded(wire.tensor(COMPLEX64, (1,), wire.field(9, wire.LENGTH, struct.pack("<3f", 1, 2, 3))))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8))
def test_strings_in_content(texts: list[bytes]) -> None:
    content = b"".join(wire.varint(len(text)) for text in texts) + b"".join(texts)
    data = wire.tensor(STRING, (len(texts),), wire.field(4, wire.LENGTH, content))
    assert decoded(data).tolist() == texts


def test_fewer_strings_than_the_shape() -> None:
    two = [wire.field(8, wire.LENGTH, text) for text in (b"a", b"b")]
    assert decoded(wire.tensor(STRING, (4,), *two)).tolist() == [b"a", b"b", b"b", b"b"]
    assert decoded(wire.tensor(STRING, (2,))).tolist() == [b"", b""]
    assert decoded(wire.tensor(STRING, (1,), *two)).tolist() == [b"a"]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 2)])
@pytest.mark.parametrize("dtype", [FLOAT, INT32, STRING, HALF, BFLOAT16])
def test_empty_tensors(dtype: int, shape: tuple[int, ...]) -> None:
    assert decoded(wire.tensor(dtype, shape)).shape == shape


def test_a_scalar_with_and_without_a_shape() -> None:
    value = wire.field(5, wire.FIXED32, struct.pack("<f", 2.5))
    assert decoded(wire.tensor(FLOAT, (), value)).shape == ()
    assert decoded(wire.field(1, wire.VARINT, b"\x01") + value) == np.float32(2.5)


MALFORMED = {
    "no dtype": wire.tensor(0, (1,)),
    "a dtype of a later release": wire.tensor(77, (1,)),
    "a resource": wire.tensor(20, (1,)),
    "a reference": wire.tensor(101, (1,)),
    "a negative dimension": wire.tensor(FLOAT, (-1,)),
    "half a float": wire.tensor(FLOAT, (1,), wire.field(5, wire.LENGTH, b"\0\0")),
    "content too short": wire.tensor(FLOAT, (2,), wire.field(4, wire.LENGTH, b"\0" * 4)),
    "content too long": wire.tensor(INT32, (1,), wire.field(4, wire.LENGTH, b"\0" * 8)),
    "content of half a float": wire.tensor(FLOAT, (1,), wire.field(4, wire.LENGTH, b"\0" * 3)),
    "strings cut in their lengths": wire.tensor(STRING, (2,), wire.field(4, wire.LENGTH, b"\x01")),
    "strings cut": wire.tensor(STRING, (1,), wire.field(4, wire.LENGTH, b"\x05ab")),
    "strings with a rest": wire.tensor(STRING, (1,), wire.field(4, wire.LENGTH, b"\x01abc")),
    "a length without end": wire.tensor(STRING, (1,), wire.field(4, wire.LENGTH, b"\xff" * 12)),
    "a value over its dtype": wire.tensor(UINT8, (1,), wire.field(7, wire.VARINT, wire.varint(256))),
    "a negative uint8": wire.tensor(UINT8, (1,), wire.field(7, wire.VARINT, wire.varint(2**64 - 1))),
    "a shape past all memory": wire.tensor(FLOAT, (2**40,), wire.field(5, wire.FIXED32, b"\0" * 4)),
    "strings past all memory": wire.tensor(STRING, (2**40,)),
    "sizes past int64": wire.tensor(FLOAT, (0, 2**62, 2**62)),
    "more dimensions than numpy has": wire.tensor(FLOAT, (1,) * 100, wire.field(5, wire.FIXED32, b"\0" * 4)),
    "cut": wire.tensor(FLOAT, (2,))[:-1],
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decoded(data)


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=60))
def test_garbage_is_a_decode_error_or_an_answer(data: bytes) -> None:
    for candidate in (data, wire.response("out", data)):
        with contextlib.suppress(DecodeError):
            decode_response(candidate)


def test_values_are_not_copied_one_by_one() -> None:
    """The array shares the memory of the answer's bytes: it is read-only, and no value is copied."""
    values = np.arange(1000, dtype="<f4")
    array = decoded(wire.tensor(FLOAT, (10, 100), wire.field(5, wire.LENGTH, values.tobytes())))
    assert array.shape == (10, 100)
    assert not array.flags.owndata
    assert not array.flags.writeable
