"""Predict requests in JSON as arrays: the rules and messages of TensorFlow Serving's json_tensor.cc."""

import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from ...contract import DTYPES
from ...wire.codec import Array
from ..failure import Failure, invalid
from ..predict import type_name
from .parser import Value, parse
from .writer import excerpt

_KINDS = {None: "Null", bool: "Bool", dict: "Object", list: "Array", bytes: "String", int: "Number", float: "Number"}
_INT32, _INT64 = range(-(2**31), 2**31), range(-(2**63), 2**63)
_UINT32, _UINT64 = range(2**32), range(2**64)
#: Integer dtype -> range of accepted values; larger ones are truncated to the dtype.
_INTEGERS = {
    "int32": _INT32, "int16": _INT32, "int8": _INT32, "uint8": _INT32, "int64": _INT64, "uint32": _UINT32,
    "uint64": _UINT64,
}  # fmt: skip
#: Dtypes whose values are first read with a numpy dtype other than int64 or float64.
_WIDE: dict[str, Any] = {"bool": np.bool_, "uint64": np.uint64}
_DTYPES = {each.number: each for each in DTYPES}
#: Maximum number of dimensions of a TensorFlow tensor.
_MOST_DIMENSIONS = 254


@dataclass(frozen=True)
class PredictRequest:
    """The contents of a body: the signature, empty for the default one, and arrays by input name.

    Attributes:
        by_row: whether the request is in rows, so that the answer must be, too.
    """

    signature_name: str
    inputs: Mapping[str, Array]
    by_row: bool


def read_predict(body: bytes, inputs_of: Callable[[str], Mapping[str, Any]]) -> PredictRequest:
    """Read the body of a predict request.

    Args:
        body: JSON with ``instances`` or ``inputs``, and optionally ``signature_name``.
        inputs_of: function from a signature's name to its TensorInfos by input name.

    Raises:
        Failure: the text is not JSON, or does not fit the signature.
    """
    document = _read_object(body)
    signature_name = _read_signature_name(document)
    inputs = inputs_of(signature_name)
    if not inputs:
        raise invalid(f"Failed to get input map for signature: {signature_name or 'DEFAULT'}")
    if b"instances" in document:
        if b"inputs" in document:
            both = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            raise _unfit(document, both)
        instances = document[b"instances"]
        if not isinstance(instances, list):
            raise _unfit(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise _unfit(document, "No values in 'instances' array")
        return PredictRequest(signature_name, _from_instances(instances, inputs), True)
    if b"inputs" in document:
        return PredictRequest(signature_name, _from_inputs(document[b"inputs"], inputs), False)
    raise invalid("Missing 'inputs' or 'instances' key")


def read_examples(body: bytes) -> str:
    """Read the body of a classify or regress request; returns its signature name, empty for the default one.

    Raises:
        Failure: the text is not JSON, or has no examples.
    """
    document = _read_object(body)
    signature_name = _read_signature_name(document)
    examples = document.get(b"examples")
    if b"examples" not in document:
        raise _unfit(document, "When method is classify, key 'examples' is expected and was not found")
    if not isinstance(examples, list):
        raise _unfit(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _unfit(document, "'examples' value is an empty array")
    for example in [document.get(b"context", {}), *examples]:
        if not isinstance(example, dict):
            raise invalid(f"Example must be JSON object but got JSON {_kind(example)}")
    return signature_name


def _read_object(body: bytes) -> dict[bytes, Value]:
    """The JSON object in a body."""
    document = parse(body)
    if not isinstance(document, dict):
        raise _unfit(document, "Is not object")
    return document


def _read_signature_name(document: dict[bytes, Value]) -> str:
    """The signature that a request names; empty for the default one."""
    name = document.get(b"signature_name", b"")
    if not isinstance(name, bytes):
        raise invalid(
            f"JSON Value: {excerpt(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return _decoded(name)


class _Tensor:
    """Collects the values of one input; the first value at each level determines the shape."""

    def __init__(self, name: str, info: Any) -> None:
        self._name, self._dtype = name, info.dtype
        self._type = _DTYPES[info.dtype].name if info.dtype in _DTYPES else ""
        self._values: list[Any] = []
        self._shape: tuple[int, ...] | None = None
        self._size = 0

    def add(self, value: Value) -> None:
        """Read a further array of this input, which must have the shape of the first one."""
        shape, before = _shape_of(value), len(self._values)
        if len(shape) > _MOST_DIMENSIONS:
            raise invalid(f"tensor parsing error: {self._name}")
        self._fill(value, 0, shape)
        size = len(self._values) - before
        if self._shape is None:
            self._shape, self._size = shape, size
        elif size != self._size:
            raise invalid(f"Expecting tensor size: {self._size} but got: {size}")
        elif shape != self._shape:
            raise invalid(f"Expecting shape {_shown(self._shape)} but got: {_shown(shape)}")

    def array(self, *rows: int) -> Array:
        """All values as one array, or as a number of rows."""
        assert self._shape is not None
        shape = (*rows, *self._shape)
        if self._type == "string":
            strings = np.empty(len(self._values), object)
            strings[:] = self._values
            return strings.reshape(shape)
        wide = np.float64 if self._is_float else _WIDE.get(self._type, np.int64)
        # A number outside of the dtype's range is truncated, or becomes infinite.
        with np.errstate(over="ignore"):
            return np.array(self._values, wide).astype(_DTYPES[self._dtype].numpy).reshape(shape)

    @property
    def _is_float(self) -> bool:
        return self._type in ("float32", "float64")

    def _fill(self, value: Value, level: int, shape: tuple[int, ...]) -> None:
        if not isinstance(value, list):
            if level != len(shape):
                raise invalid(
                    f"JSON Value: {excerpt(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at "
                    f"level: {len(shape)}"
                )
            self._values.append(self._converted(value))
        elif level >= len(shape):
            raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        elif len(value) != shape[level]:
            raise invalid(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
            )
        else:
            for each in value:
                self._fill(each, level + 1, shape)

    def _converted(self, value: Value) -> Any:
        kind = type(value)
        if self._type == "string":
            if kind is dict:
                return _from_base64(value)
            fits = kind is bytes
        elif kind is dict:
            fits = False
        elif self._is_float:
            fits = kind in (int, float)
        elif self._type == "bool":
            fits = kind is bool
        elif self._type in _INTEGERS:
            fits = kind is int and value in _INTEGERS[self._type]
        else:
            raise Failure(
                grpc.StatusCode.UNIMPLEMENTED,
                f"Conversion of JSON Value: {excerpt(value)} to type: {type_name(self._dtype)}",
            )
        if not fits:
            raise invalid(
                f"JSON Value: {excerpt(value)} Type: {_kind(value)} is not of expected type: {type_name(self._dtype)}"
            )
        return value


def _from_instances(instances: list[Value], inputs: Mapping[str, Any]) -> dict[str, Array]:
    """Arrays from rows, each of which is a value of the only input, or an object of values by input name."""
    if len(inputs) > 1 and not isinstance(instances[0], dict):
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    of_objects = _is_object(instances[0])
    tensors = {name: _Tensor(name, info) for name, info in inputs.items()}
    for at, row in enumerate(instances):
        if of_objects:
            if not _is_object(row):
                raise invalid(f"Expecting object but got list at item {at} of input list")
            _add_object(row, at, tensors)
            continue
        if _is_object(row):
            raise invalid(f"Expecting value/list but got object at item {at} of input list")
        try:
            next(iter(tensors.values())).add(row)
        except Failure as failure:
            raise invalid(
                f"Failed to process element: {at} of 'instances' list. Error: {failure.code.name}: {failure}"
            ) from None
    return {name: tensor.array(len(instances)) for name, tensor in tensors.items()}


def _add_object(row: dict[bytes, Value], at: int, tensors: Mapping[str, _Tensor]) -> None:
    for key, value in row.items():
        name = _decoded(key)
        try:
            if name not in tensors:
                raise invalid(f"JSON object: does not have named input: {name}")
            tensors[name].add(value)
        except Failure as failure:
            why = f"{failure.code.name}: {failure}"
            raise invalid(f"Failed to process element: {at} key: {name} of 'instances' list. Error: {why}") from None
    if len(row) < len(tensors):
        raise invalid(
            f"Failed to process element: {at} of 'instances' list. JSON object: {excerpt(row)} keys must be equal to: "
            f"{','.join(sorted(tensors))}"
        )


def _from_inputs(value: Value, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """Arrays from complete inputs: the array of the only input, or an object of arrays by input name."""
    if _is_object(value):
        arrays = {}
        for name, info in inputs.items():
            key = name.encode("utf-8", "surrogateescape")
            if key not in value:
                raise invalid(f"Missing named input: {name} in 'inputs' object.")
            arrays[name] = _array(name, info, value[key])
        return arrays
    if len(inputs) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map"
        )
    return {name: _array(name, info, value) for name, info in inputs.items()}


def _array(name: str, info: Any, value: Value) -> Array:
    tensor = _Tensor(name, info)
    tensor.add(value)
    return tensor.array()


def _shape_of(value: Value) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _is_object(value: Value) -> bool:
    """Whether a value is an object of named values, not bytes in base64."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: dict[bytes, Value]) -> bool:
    return len(value) == 1 and isinstance(value.get(b"b64"), bytes)


def _from_base64(value: dict[bytes, Value]) -> bytes:
    if not _is_base64(value):
        raise invalid(f"JSON Value: {excerpt(value)} not formatted correctly for base64 data")
    # Like Abseil: white space anywhere, a point in place of "=", and optional padding.
    text = re.sub(rb"[ \t\n\v\f\r]", b"", value[b"b64"]).replace(b".", b"=")
    digits = text.rstrip(b"=")
    padded = digits + b"=" * (-len(digits) % 4)
    try:
        if text not in (digits, padded):
            raise binascii.Error
        return binascii.a2b_base64(padded, strict_mode=True)
    except binascii.Error:
        raise invalid("Unable to base64 decode") from None


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return str(value)
    return _KINDS[None if value is None else type(value)]


def _unfit(document: Value, why: str) -> Failure:
    return invalid(f"JSON Value: {excerpt(document)} {why}")


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
