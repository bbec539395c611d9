"""Writes JSON like TensorFlow Serving: RapidJSON's PrettyWriter, and numbers like ``WriteDecimal`` (json_tensor.cc).

The indentation of a text depends on the number of open brackets around it, its ``depth``.
"""

import base64
import json
import math
import re
from contextlib import suppress
from decimal import Decimal
from typing import Any

import numpy as np

from ...wire.codec import Array
from ..failure import invalid
from ..predict import type_name
from ..runtime import DTYPE_OF
from .parser import Value

_SPECIAL = re.compile(rb'["\\\x00-\x1f]')
_ESCAPES = {b'"': rb"\"", b"\\": rb"\\", b"\b": rb"\b", b"\f": rb"\f", b"\n": rb"\n", b"\r": rb"\r", b"\t": rb"\t"}
_WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
#: Outputs whose names end like this are written as base64.
_BYTES = "_bytes"
#: Size of an excerpt of a value in bytes; the token that exceeds it is the last one.
_EXCERPT = 256


def indent(depth: int) -> bytes:
    """A line break, and the indentation of the next line."""
    return b"\n" + b"    " * depth


def text_of(value: bytes) -> bytes:
    """A string in quotes; bytes that are not UTF-8 are unchanged."""
    return b'"' + _SPECIAL.sub(lambda found: _ESCAPES.get(found[0]) or b"\\u%04X" % found[0][0], value) + b'"'


def name_of(name: str) -> bytes:
    """A name in quotes."""
    return text_of(name.encode("utf-8", "surrogateescape"))


def error(message: str) -> bytes:
    """The response with an error."""
    return b"{" + indent(1) + b'"error": ' + name_of(message) + indent(0) + b"}"


def rows(outputs: dict[str, Array]) -> bytes:
    """The answer to a request of rows; with several outputs, each row is an object.

    Raises:
        Failure: INVALID_ARGUMENT; outputs without rows, with unequal numbers of rows, or with a dtype that JSON lacks.
    """
    count = -1
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if count >= 0 and len(array) != count:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {count}")
        count = len(array)
    several = len(outputs) > 1
    columns = {name: _rows(name, array, 3 if several else 2) for name, array in outputs.items()}
    if several:
        objects = [
            b"{" + b",".join(indent(3) + name_of(name) + b": " + columns[name][row] for name in outputs)
            + indent(2) + b"}"
            for row in range(count)
        ]  # fmt: skip
        body = indent(2) + (b"," + indent(2)).join(objects) if objects else b""
    else:
        (only,) = columns.values()
        body = b", ".join(only)
    return b"{" + indent(1) + b'"predictions": [' + body + (indent(1) if count else b"") + b"]" + indent(0) + b"}"


def columns(outputs: dict[str, Array]) -> bytes:
    """The answer to a request of columns; with several outputs, an object.

    Raises:
        Failure: INVALID_ARGUMENT; an output has a dtype that JSON cannot represent.
    """
    if len(outputs) > 1:
        members = [
            indent(2) + name_of(name) + b": " + _lines(_leaves(name, array, 2 + array.ndim), array.shape, 2)
            for name, array in outputs.items()
        ]
        body = b"{" + b",".join(members) + indent(1) + b"}"
    else:
        ((name, array),) = outputs.items()
        body = _lines(_leaves(name, array, 1 + array.ndim), array.shape, 1)
    return b"{" + indent(1) + b'"outputs": ' + body + indent(0) + b"}"


def _rows(name: str, array: Array, depth: int) -> list[bytes]:
    """Each row of an array, on one line."""
    leaves, inner = _leaves(name, array, depth + array.ndim - 1), array.shape[1:]
    size = len(leaves) // max(1, len(array))
    return [_line(leaves[at * size : (at + 1) * size], inner) for at in range(len(array))]


def _line(leaves: list[bytes], shape: tuple[int, ...]) -> bytes:
    """An array of these values, on one line."""
    if not shape:
        return leaves[0]
    if len(shape) > 1:
        size = len(leaves) // max(1, shape[0])
        leaves = [_line(leaves[at * size : (at + 1) * size], shape[1:]) for at in range(shape[0])]
    return b"[" + b", ".join(leaves) + b"]"


def _lines(leaves: list[bytes], shape: tuple[int, ...], depth: int) -> bytes:
    """An array of these values, one per line."""
    if not shape:
        return leaves[0]
    if not shape[0]:
        return b"[]"
    if len(shape) > 1:
        size = len(leaves) // shape[0]
        leaves = [_lines(leaves[at * size : (at + 1) * size], shape[1:], depth + 1) for at in range(shape[0])]
    line = indent(depth + 1)
    return b"[" + line + (b"," + line).join(leaves) + indent(depth) + b"]"


def _leaves(name: str, array: Array, depth: int) -> list[bytes]:
    """The text of each value of an array; ``depth``: depth of the values."""
    values: list[Any] = array.ravel().tolist()
    if array.dtype == object:
        if not name.endswith(_BYTES):
            return [text_of(value) for value in values]
        before, after = b"{" + indent(depth + 1) + b'"b64": "', b'"' + indent(depth) + b"}"
        return [before + base64.b64encode(value) + after for value in values]
    if array.dtype == np.bool_:
        return [b"true" if value else b"false" for value in values]
    if array.dtype in (np.float32, np.float64):
        return decimals(array)
    if values and (array.dtype.kind not in "iu" or array.dtype == np.uint16):
        raise invalid(f"Failed to write JSON value for tensor type: {type_name(DTYPE_OF[array.dtype].number)}")
    return [b"%d" % value for value in values]


def decimals(array: Array) -> list[bytes]:
    """The values of a float32 or float64 array of any shape.

    A number has six digits, as in ``%g``; if they parse to another number, it has as many as are necessary. Whole
    numbers end in ``.0``. NaN and infinities are bare words, which standard JSON does not allow.
    """
    digits = 9 if array.dtype == np.float32 else 17
    flat = array.ravel()
    values = flat.tolist()
    texts = [f"{value:.6g}" for value in values]
    with np.errstate(over="ignore"):
        exact = np.array([float(text) for text in texts]).astype(array.dtype) == flat
    for at in np.flatnonzero(~exact).tolist():
        texts[at] = f"{values[at]:.{digits}g}"
    return [(text if "." in text or "e" in text else _WORDS.get(text, f"{text}.0")).encode() for text in texts]


def excerpt(value: Value) -> str:
    """The beginning of a value, for a message."""
    written = _Excerpt()
    with suppress(_Full):
        written.value(value, 0, b"")
    return bytes(written.text).decode("utf-8", "surrogateescape")


class _Full(Exception):
    pass


class _Excerpt:
    """Writes tokens, each with the white space and the comma before it, up to the size of an excerpt."""

    def __init__(self) -> None:
        self.text = bytearray()

    def value(self, value: Value, depth: int, before: bytes) -> None:
        if isinstance(value, list):
            self._put(before + b"[")
            for at, item in enumerate(value):
                self.value(item, depth + 1, b", " if at else b"")
            self._put(b"]")
        elif isinstance(value, dict):
            self._put(before + b"{")
            for at, (name, member) in enumerate(value.items()):
                self._put((b"," if at else b"") + indent(depth + 1) + text_of(name))
                self.value(member, depth + 1, b": ")
            self._put((indent(depth) if value else b"") + b"}")
        else:
            self._put(before + _scalar(value))

    def _put(self, token: bytes) -> None:
        if len(self.text) >= _EXCERPT:
            raise _Full
        self.text += token


def _scalar(value: Value) -> bytes:
    if isinstance(value, bytes):
        return text_of(value)
    if isinstance(value, float):
        if not math.isfinite(value):  # RapidJSON's writer refuses it and stops
            raise _Full
        return _shortest(value)
    return json.dumps(value).encode()


def _shortest(value: float) -> bytes:
    """A float in RapidJSON's form: the fewest digits that represent it."""
    sign, figures, power = Decimal(repr(value)).normalize().as_tuple()
    digits, length = "".join(map(str, figures)), len(figures)
    assert isinstance(power, int)
    point = length + power
    if value == 0:
        text = "0.0"
    elif power >= 0 and point <= 21:
        text = f"{digits}{'0' * power}.0"
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = f"{digits[0]}{'.' + digits[1:] if length > 1 else ''}e{point - 1}"
    return ("-" * sign + text).encode()
