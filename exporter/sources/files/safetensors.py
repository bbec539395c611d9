"""model.safetensors: a JSON header, then the tensors one after the other. They are mapped into memory, not read.

Format: the safetensors library's own description (8 bytes of header length, little-endian; the header;
``data_offsets`` counted from its end). The library checks the header against the file; but it does not report the
position of a tensor, and it copies tensors: therefore the header is parsed here again.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np

from ..stored import StoredTensor, unreadable
from .raw import view

#: Dtype name of the format -> name in :data:`.raw.DTYPES`.
_DTYPES = {
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def read(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one file.

    Raises:
        CorruptSource: not a complete safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    with path.open("rb"):
        pass  # raises the system's error; the library does not report a missing permission
    try:
        with safe_open(path, framework="numpy"):
            pass
        mapped = np.memmap(path, np.uint8, "r")
        length = int.from_bytes(bytes(mapped[:8]), "little")
        header = json.loads(bytes(mapped[8 : 8 + length]))
        header.pop("__metadata__", None)
        tensors = {}
        for key, entry in header.items():
            dtype, shape = _DTYPES.get(entry["dtype"], entry["dtype"]), tuple(entry["shape"])
            start = 8 + length + entry["data_offsets"][0]
            get = partial(view, mapped, start, dtype, shape)
            tensors[key] = StoredTensor(path, key, shape, entry["dtype"], "float" in dtype, get)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(path, "not a readable safetensors file", "a header and its tensors", error) from error
    return tensors
