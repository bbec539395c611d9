"""TensorFlow checkpoints: a prefix with ``.index`` and ``.data-*`` files, name-based (Google's original BERT) or
object-based (tf-models, and the variables of a SavedModel).
"""

import math
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ....serving.interrupts import held
from ...errors import CorruptSource, first_line
from ...families.names import GOOGLE, OBJECT_BASED, Style
from ..stored import StoredTensor, unreadable

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def find(folder: Path) -> Path | None:
    """Prefix of the folder's checkpoint; ``None`` if there is none.

    Raises:
        CorruptSource: several checkpoints, and the file ``checkpoint`` does not select one.
    """
    prefixes = sorted(path.with_suffix("") for path in folder.glob("*.index"))
    if len(prefixes) < 2:
        return prefixes[0] if prefixes else None
    # Only the name: the path in the file may be a bucket or a folder of another machine.
    listing = folder / "checkpoint"
    text = listing.read_text(encoding="utf-8", errors="replace") if listing.is_file() else ""
    latest = re.search(r'^\s*model_checkpoint_path\s*:\s*"(?:[^"\n]*[/\\])?([^"/\\\n]+)"', text, re.MULTILINE)
    if latest and folder / latest[1] in prefixes:
        return folder / latest[1]
    raise CorruptSource(
        f"{folder}: expected one checkpoint, or a file named checkpoint that selects one; found "
        f"{', '.join(prefix.name for prefix in prefixes)}"
    )


def files_of(prefix: Path) -> list[Path]:
    """The files of a checkpoint."""
    return sorted([*prefix.parent.glob(f"{prefix.name}.index"), *prefix.parent.glob(f"{prefix.name}.data-*-of-*")])


def read(prefix: Path) -> tuple[dict[str, StoredTensor], Style]:
    """The variables of a checkpoint by their full names, and the naming style.

    Raises:
        CorruptSource: an incomplete checkpoint.
    """
    with held():
        import tensorflow as tf
        from tensorflow.core.protobuf import trackable_object_graph_pb2

    index = prefix.with_name(f"{prefix.name}.index")
    data = [path for path in files_of(prefix) if path != index]
    count = int(data[0].name.rpartition("-")[2]) if data and data[0].name[-5:].isdigit() else 1
    for number in range(count):  # only names: a false number of shards is noticed at the first missing one
        part = prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{count:05d}")
        if part not in data:
            raise CorruptSource(f"{part}: missing; {index.name} lists it")
    stored = sum(path.stat().st_size for path in data)
    try:
        reader = tf.train.load_checkpoint(os.fspath(prefix))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        names = {key: key for key in shapes}
        if _OBJECT_GRAPH in shapes:
            graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH))
            names = {
                item.full_name or item.checkpoint_key: item.checkpoint_key
                for node in graph.nodes
                for item in node.attributes
                if item.checkpoint_key in shapes
            }
    # TensorFlow's own errors, its reader's RuntimeError, a damaged proto.
    except Exception as error:
        raise unreadable(index, "TensorFlow cannot read it", "the index of a checkpoint", error) from error
    tensors = {}
    for name, key in names.items():
        dtype = dtypes[key]
        # TensorFlow allocates the memory before it looks for the values.
        if dtype.is_floating and math.prod(shapes[key]) * dtype.size > stored:
            raise CorruptSource(
                f"{index}: the tensor {name} cannot be read from its .data files: it has shape "
                f"{shapes[key]}, but they have only {stored} bytes"
            )
        get = partial(_get, reader, index, key, name)
        tensors[name] = StoredTensor(index, name, tuple(shapes[key]), dtype.name, dtype.is_floating, get)
    return tensors, OBJECT_BASED if _OBJECT_GRAPH in shapes else GOOGLE


def _get(reader: Any, index: Path, key: str, name: str) -> np.ndarray:
    try:
        value = np.asarray(reader.get_tensor(key))
    except Exception as error:
        raise CorruptSource(
            f"{index}: the tensor {name} cannot be read from its .data files: {first_line(error)}"
        ) from error
    return value if value.dtype.kind == "f" else value.astype(np.float32)  # bfloat16
