"""Write the ops of this environment's TensorFlow: ``python scripts/dump_ops.py FILE [MODULE or LIBRARY ...]``.

Runs inside the environments of scripts/make_ops.py, with their Python and only TensorFlow. Without modules the file
contains all ops; with modules or libraries (``*.so``) only the ops that these add.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

#: Kernels of the device type DEFAULT are for every device.
_DEVICES = {"cpu": ("CPU", "DEFAULT"), "gpu": ("GPU", "DEFAULT")}


def dump(file: str, extras: list[str]) -> None:
    """Write the GraphDef versions, and the attributes, deprecation and kernels of each op, as JSON."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session
    from tensorflow.python.framework import kernels as registry

    def registered() -> Any:
        data = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
        return op_def_pb2.OpList.FromString(data).op

    known = {op.name for op in registered()} if extras else set()
    for extra in extras:
        tf.load_op_library(extra) if extra.endswith(".so") else __import__(extra)
    kernels: dict[str, list[Any]] = {}
    for kernel in registry.get_all_registered_kernels().kernel:
        if not kernel.label:  # Kernels with a label are only for nodes that request it, in TensorFlow's own code.
            kernels.setdefault(kernel.op, []).append(kernel)
    state = {
        "graph_def_version": tf.version.GRAPH_DEF_VERSION,
        "min_producer": tf.version.GRAPH_DEF_VERSION_MIN_PRODUCER,
        "ops": {
            op.name: {**describe(op), **dtypes(kernels.get(op.name, []))} for op in registered() if op.name not in known
        },
    }
    Path(file).write_text(json.dumps(state, sort_keys=True), encoding="utf-8")


def describe(op: Any) -> dict[str, Any]:
    """Attributes of an op, name -> [type, default as text or null], and its deprecation."""
    from google.protobuf import text_format

    attributes = {
        attr.name: [
            attr.type,
            text_format.MessageToString(attr.default_value, as_one_line=True).strip()
            if attr.HasField("default_value")
            else None,
        ]
        for attr in op.attr
    }
    described: dict[str, Any] = {"attrs": attributes}
    if op.HasField("deprecation"):
        described["deprecated"] = op.deprecation.version
    return described


def dtypes(kernels: list[Any]) -> dict[str, list[dict[str, list[int]]]]:
    """Device -> combinations of dtypes of its kernels, each attribute -> numbers of DataType."""
    found = {}
    for device, kinds in _DEVICES.items():
        rows = [_constraints(kernel) for kernel in kernels if kernel.device_type in kinds]
        if rows:
            found[device] = merged(rows)
    return found


def _constraints(kernel: Any) -> dict[str, list[int]]:
    lists = {each.name: each.allowed_values.list.type for each in kernel.constraint}
    return {name: sorted(set(types)) for name, types in sorted(lists.items()) if types}


def merged(rows: list[dict[str, list[int]]]) -> list[dict[str, list[int]]]:
    """The same combinations in fewer rows: rows that differ in only one attribute are merged."""
    rows = [dict(row) for _, row in sorted({json.dumps(row): row for row in rows}.items())]
    pairs = [(one, other) for one in rows for other in rows if one is not other]
    for row, other in pairs:
        apart = [name for name in row if row[name] != other.get(name)]
        if row.keys() == other.keys() and len(apart) <= 1:
            for name in apart:
                row[name] = sorted({*row[name], *other[name]})
            return merged([each for each in rows if each is not other])
    return rows


if __name__ == "__main__":
    dump(sys.argv[1], sys.argv[2:])
