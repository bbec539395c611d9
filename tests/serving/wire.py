"""Protobuf's wire format by hand, for encodings that no library writes but every reader must accept."""

from __future__ import annotations

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def field(number: int, kind: int, payload: bytes) -> bytes:
    """A field; the length comes before ``payload`` if the kind requires it."""
    length = varint(len(payload)) if kind == LENGTH else b""
    return varint(number << 3 | kind) + length + payload


def tensor(dtype: int, shape: tuple[int, ...], *fields: bytes) -> bytes:
    """A TensorProto."""
    dims = b"".join(field(2, LENGTH, field(1, VARINT, varint(size % 2**64))) for size in shape)
    return field(1, VARINT, varint(dtype)) + field(2, LENGTH, dims) + b"".join(fields)


def response(name: str, tensor_bytes: bytes) -> bytes:
    """A PredictResponse with one output."""
    return field(1, LENGTH, field(1, LENGTH, name.encode()) + field(2, LENGTH, tensor_bytes))
