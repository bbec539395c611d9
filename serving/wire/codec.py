"""numpy <-> TensorProto, without TensorFlow.

Follows tensorflow/core/framework/tensor.proto and ``tf.make_ndarray``: values are in ``tensor_content`` as raw
little-endian bytes, or in the field of their dtype. Missing values are filled with the last value, or with zeros if
there is none; surplus values are cut. TensorFlow Serving reads requests in the same way.

Arrays may share memory with the message and are then read-only; copy an array to write into it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.unknown_fields import UnknownFieldSet

from ..contract import DTYPE_NUMBERS, DTYPES
from ..errors import DecodeError
from . import varint
from .protos import FastPredictResponse, ModelSpec, PredictResponse, TensorProto

Array = npt.NDArray[Any]

#: Maximum number of filled values, so that a short message cannot claim all memory.
_MOST_FILLED = 1 << 28

_TYPES = {each.number: each for each in DTYPES}
_STRING, _BFLOAT16, _HALF, _FLOAT, _DOUBLE = (
    DTYPE_NUMBERS[name] for name in ("string", "bfloat16", "float16", "float32", "float64")
)
_NUMBERS = {np.dtype(each.numpy): each.number for each in DTYPES if each.number not in (_STRING, _BFLOAT16)}


def dtype_name(number: int) -> str:
    """The usual name of a DataType number; ``DT_<number>`` if it is unknown here."""
    return _TYPES[number].name if number in _TYPES else f"DT_{number}"


def encode_texts(texts: Sequence[bytes]) -> TensorProto:
    """A string tensor ``[len(texts)]``."""
    tensor = TensorProto(dtype=_STRING, string_val=texts)  # type: ignore[arg-type]
    tensor.tensor_shape.dim.add(size=len(texts))
    return tensor


def encode(value: npt.ArrayLike) -> TensorProto:
    """A tensor of ``value`` as numpy reads it; str and bytes become strings.

    Raises:
        TypeError: no tensor dtype fits.
        ValueError: ragged nesting, or a str with a lone surrogate.
    """
    array = np.asarray(value)
    if array.dtype.kind in "SU" and not isinstance(value, np.ndarray):
        # numpy's own string dtypes drop trailing NULs.
        array = np.array(value, object)
    if array.dtype.kind in "OSUT":  # T: numpy's StringDType
        tensor = TensorProto(dtype=_STRING)  # type: ignore[arg-type]
        tensor.string_val.extend(_as_bytes(item) for item in array.ravel().tolist())
    else:
        # numpy has no bfloat16; ml_dtypes, which TensorFlow and JAX use, adds it.
        number = _BFLOAT16 if array.dtype.name == "bfloat16" else _NUMBERS.get(array.dtype.newbyteorder("<"))
        if number is None:
            known = ", ".join(sorted(each.name for each in DTYPES))
            raise TypeError(f"an array of dtype {array.dtype} cannot be sent; convert it to one of {known}")
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        tensor = TensorProto(dtype=number, tensor_content=little.tobytes())  # type: ignore[arg-type]
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def _as_bytes(item: object) -> bytes:
    if not isinstance(item, (bytes, str)):
        raise TypeError(f"a {type(item).__name__} cannot be sent as an element of a string tensor; give str or bytes")
    return item if isinstance(item, bytes) else utf8(item)


def utf8(text: str) -> bytes:
    """A str as UTF-8.

    Raises:
        ValueError: it contains a lone surrogate, which UTF-8 cannot encode.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"remove the lone surrogate {text[error.start]!r} at position {error.start}: UTF-8 cannot encode it"
        ) from error


def decode_response(data: bytes) -> tuple[ModelSpec, dict[str, Array]]:
    """The model_spec, and the outputs by name, of a serialised PredictResponse.

    Raises:
        DecodeError: not a PredictResponse, or a tensor in it is inconsistent.
    """
    try:
        fast = FastPredictResponse.FromString(data)
        standard = None
        outputs: dict[str, Array] = {}
        for name, tensor in fast.outputs.items():
            array = _packed(tensor, name) if tensor.dtype in (_FLOAT, _DOUBLE) else decode_tensor(tensor, name)
            if array is None:
                # Only the bytes keep the order of packed and unpacked values.
                standard = standard or PredictResponse.FromString(data)
                array = decode_tensor(standard.outputs[name], name)
            outputs[name] = array
    except ProtobufError as error:
        raise DecodeError(f"the answer is not a PredictResponse: {error}") from error
    return fast.model_spec, outputs


def _packed(tensor: Any, name: str) -> Array | None:
    """A float tensor of packed values, as many as its shape requires; ``None`` for any other tensor."""
    dtype, shape = np.dtype(_TYPES[tensor.dtype].numpy), _shape(tensor, name)
    with _refusing(name):
        # Each access to a bytes field copies it.
        if content := tensor.tensor_content:
            return _from_content(tensor, content, shape, name).reshape(shape)
        chunks = getattr(tensor, _TYPES[tensor.dtype].field)
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if len(data) != math.prod(shape) * dtype.itemsize or len(UnknownFieldSet(tensor)):
            return None
        return np.frombuffer(data, dtype).reshape(shape)


def decode_tensor(tensor: Any, name: str = "tensor") -> Array:
    """A TensorProto as a numpy array. Strings become ``bytes`` objects, bfloat16 becomes float32.

    Raises:
        DecodeError: an unknown dtype, or contents that contradict the shape.
    """
    if tensor.dtype not in _TYPES:
        raise DecodeError(f"the tensor {name!r} has the dtype {dtype_name(tensor.dtype)}, which rawbert cannot read")
    with _refusing(name):
        return _decode(tensor, name)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turn numpy's errors into DecodeErrors, such as for a rank above numpy's limit, or a size above the memory."""
    try:
        yield
    except (ValueError, OverflowError, MemoryError) as error:
        raise DecodeError(f"the tensor {name!r} cannot be read: {error}") from error


def _decode(tensor: Any, name: str) -> Array:
    shape = _shape(tensor, name)
    if content := tensor.tensor_content:
        array = _from_content(tensor, content, shape, name)
    else:
        array = _from_values(tensor, math.prod(shape), name)
    if tensor.dtype == _BFLOAT16:
        # The upper half of a float32.
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)


def _shape(tensor: Any, name: str) -> tuple[int, ...]:
    # Without dimensions it is a scalar, even if its rank is marked as unknown.
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if min(shape, default=0) < 0:
        raise DecodeError(f"the tensor {name!r} has no definite shape: {list(shape)}")
    return shape


def _from_content(tensor: Any, content: bytes, shape: tuple[int, ...], name: str) -> Array:
    count = math.prod(shape)
    if tensor.dtype == _STRING:
        return _strings(_split_strings(content, count, name))
    dtype = np.dtype(_TYPES[tensor.dtype].numpy)
    if len(content) != count * dtype.itemsize:
        raise DecodeError(f"the tensor {name!r} has {len(content)} bytes for the shape {list(shape)} of {dtype.name}")
    return np.frombuffer(content, dtype)


def _from_values(tensor: Any, count: int, name: str) -> Array:
    dtype, field = _TYPES[tensor.dtype].numpy, _TYPES[tensor.dtype].field
    given = len(getattr(tensor, field))
    if count - given > _MOST_FILLED:
        raise DecodeError(f"the tensor {name!r} has {given} values, but its shape requires {count}")
    if tensor.dtype == _STRING:
        items = list(tensor.string_val[:count])
        return _strings(items + [items[-1] if items else b""] * (count - len(items)))
    values = getattr(tensor, field)
    if field in ("scomplex_val", "dcomplex_val"):
        parts = np.array(values, dtype.replace("c8", "f4").replace("c16", "f8"))
        if len(parts) % 2:
            raise DecodeError(f"the tensor {name!r} has half of a complex number")
        array: Array = parts.view(dtype)
    elif tensor.dtype == _HALF:
        array = _narrow(values, np.dtype("<u2"), name).view(dtype)
    else:
        array = _narrow(values, np.dtype(dtype), name)
    if len(array) >= count:
        return array[:count]
    filler = array[-1] if len(array) else np.zeros((), dtype)[()]
    return np.concatenate([array, np.full(count - len(array), filler, dtype)])


def _narrow(values: Any, dtype: np.dtype[Any], name: str) -> Array:
    """Values of a field as an array; many fields are wider than the dtype of their values."""
    if dtype.kind in "iu" and dtype.itemsize < 4:
        wide = np.array(values, np.int64)
        if not np.array_equal(wide.astype(dtype), wide):
            raise DecodeError(f"the tensor {name!r} has values out of the range of {dtype.name}")
    return np.array(values, dtype)


def _strings(items: list[bytes]) -> Array:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def _split_strings(content: bytes, count: int, name: str) -> list[bytes]:
    """Strings as ``--enable_serialization_as_tensor_content`` writes them: all lengths as varints, then all bytes."""
    lengths, at = [], 0
    for _ in range(count):
        try:
            length, at = varint.decode(content, at)
        except (IndexError, ValueError):
            raise DecodeError(f"the tensor {name!r} ends within the lengths of its strings") from None
        lengths.append(length)
    ends = list(accumulate(lengths, initial=at))
    if ends[-1] != len(content):
        raise DecodeError(f"the tensor {name!r} has {len(content) - at} bytes of strings, not {sum(lengths)}")
    return [content[start:end] for start, end in pairwise(ends)]


def encode_inputs(inputs: Mapping[str, npt.ArrayLike]) -> dict[str, TensorProto]:
    """:func:`encode` for several inputs; errors contain the input's name."""
    tensors = {}
    for name, value in inputs.items():
        try:
            tensors[name] = encode(value)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"input {name!r}: {error}") from error
    return tensors
