"""The kernels of a release for a node with its dtypes: a server fails calls of an op without one.

A kernel is registered for a device and for the dtypes that some attributes of the op may have
(tensorflow/core/framework/kernel_def_builder.h).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...serving.wire.codec import dtype_name
from . import opsets

#: The default of an attribute that is a dtype, as protobuf text.
_DEFAULT = re.compile(r"type: DT_(\w+)")
_NUMBERS = {
    "FLOAT": 1, "DOUBLE": 2, "INT32": 3, "UINT8": 4, "INT16": 5, "INT8": 6, "STRING": 7, "COMPLEX64": 8, "INT64": 9,
    "BOOL": 10, "BFLOAT16": 14, "UINT16": 17, "COMPLEX128": 18, "HALF": 19, "RESOURCE": 20, "VARIANT": 21,
    "UINT32": 22, "UINT64": 23,
}  # fmt: skip


def devices(node: Any, op: opsets.Op) -> set[str]:
    """Devices, among ``cpu`` and ``gpu``, with a kernel for a node; at most the node's own device if it names one.

    An op that is registered without any kernel counts as if it had kernels for both: TensorFlow replaces it before it
    runs, or it never runs.
    """
    allowed = {"cpu"} if "CPU" in node.device.upper() else {"cpu", "gpu"}
    if not op.kernels:
        return allowed
    return {device for device in allowed if any(_fits(node, op, row) for row in op.kernels.get(device, ()))}


def dtypes(node: Any, op: opsets.Op) -> str:
    """The dtypes of a node that decide on its kernel: ``T=bfloat16, Tidx=int32``."""
    names = sorted({name for rows in op.kernels.values() for row in rows for name in row})
    found = {name: _types(node, op, name) for name in names}
    return ", ".join(f"{name}={'|'.join(map(dtype_name, types))}" for name, types in found.items() if types)


def _fits(node: Any, op: opsets.Op, row: Mapping[str, Sequence[int]]) -> bool:
    return all(number in allowed for name, allowed in row.items() for number in _types(node, op, name))


def _types(node: Any, op: opsets.Op, name: str) -> list[int]:
    """The dtypes of an attribute; empty if the caller of a function decides about them."""
    if name in node.attr:
        value = node.attr[name]
        return [value.type] if value.WhichOneof("value") == "type" else list(value.list.type)
    return [_NUMBERS[each] for each in _DEFAULT.findall(op.attrs.get(name) or "") if each in _NUMBERS]
