"""pytorch_model.bin: files of ``torch.save``, read without PyTorch and without running any code in them.

Both of PyTorch's formats (torch/serialization.py, ``_save`` and ``_legacy_save``) contain a pickle that rebuilds
tensors over storages, and the storages as plain bytes: since 1.6 a zip with ``data.pkl`` and ``data/<key>``,
before that one stream. A pickle can name any function of any module; the unpickler here knows only the few names
that a dict of tensors needs, maps them to harmless substitutes, and refuses all others before anything is called.
"""

import io
import math
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ...errors import CorruptSource, UnsupportedModel
from ..stored import StoredTensor, unreadable
from .raw import DTYPES, view

_STORAGES = {
    "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "FloatStorage": "float32", "DoubleStorage": "float64",
    "CharStorage": "int8", "ShortStorage": "int16", "IntStorage": "int32", "LongStorage": "int64",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
#: Keys of the model in the files of training loops.
_STATE_DICTS = ("state_dict", "model_state_dict", "model")
#: Maximum size in bytes of the pickle, which has only names and shapes: BERT-large's has 60 KB.
_LARGEST_PICKLE = 16 << 20


class _StorageType(NamedTuple):
    dtype: str


class _Storage(NamedTuple):
    """Elements of one dtype under a key."""

    dtype: str
    key: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Rebuild:
    """Substitute for torch's functions. Neither it nor its results have attributes that a pickle could set."""

    __slots__ = ()

    def __call__(self, data: Any, *rest: Any) -> _Tensor:
        if type(data) is _Tensor:  # the call of _rebuild_parameter
            return data
        offset, shape, strides = rest[:3]
        if type(data) is not _Storage or len(shape) != len(strides):
            raise pickle.UnpicklingError("invalid description of a tensor")
        if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
            raise pickle.UnpicklingError("invalid shape of a tensor")
        return _Tensor(data, offset, tuple(shape), tuple(strides))


#: All names that a pickle may use: module and name -> substitute.
_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    **{("torch", name): _StorageType(dtype) for name, dtype in _STORAGES.items()},
    **{("torch._utils", name): _Rebuild() for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")},
}
#: Byte range of each storage in the file, by its key: the first byte, and the byte after the last.
_Spans = dict[str, tuple[int, int]]


class _Refused(Exception):
    """The pickle uses a name that no tensor needs, or is not a dict of tensors."""


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Python's unpickler: the C version allocates a table as large as the highest object number in the pickle."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise _Refused(
                f"the pickle in it names {module}.{name}; expected tensors only. Nothing of it was run. "
                "If you trust its origin, load it with PyTorch and save its state_dict() as model.safetensors"
            )
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        kind, storage_type, key, _, size, *rest = pid
        if kind != "storage" or type(storage_type) is not _StorageType or any(part is not None for part in rest):
            raise pickle.UnpicklingError("invalid description of a storage")
        if type(size) is not int or type(key) is not str:
            raise pickle.UnpicklingError("invalid size of a storage")
        return _Storage(storage_type.dtype, key, size)


def read(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one file.

    Raises:
        UnsupportedModel: the file contains other objects than tensors: a whole model, code, quantized weights.
        CorruptSource: not a file of ``torch.save``, or an incomplete one.
    """
    try:
        with path.open("rb") as stream:
            tensors, spans = _zipped(stream) if zipfile.is_zipfile(stream) else _legacy(stream)
        mapped = np.memmap(path, np.uint8, "r")
    except _Refused as error:
        raise UnsupportedModel(f"{path}: {error}") from None
    # An unpickler may raise any exception for a damaged stream.
    except Exception as error:
        raise unreadable(path, "not a readable file of torch.save", "a dict of tensors", error) from error
    return {key: _stored(path, mapped, key, value, spans) for key, value in tensors.items()}


def _tensors(state: Any) -> dict[str, _Tensor]:
    """The tensors of a state dict, or of the only state dict in the file of a training loop."""
    if not isinstance(state, dict):
        raise _Refused(f"expected a dict of tensors, found a {type(state).__name__}")
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, _Tensor)}
    inner = [key for key in _STATE_DICTS if isinstance(state.get(key), dict)]
    if tensors or not inner:
        return tensors
    if len(inner) > 1:
        raise _Refused(f"expected a dict of tensors, found {' and '.join(inner)}")
    return _tensors(state[inner[0]])


def _stored(path: Path, mapped: np.ndarray, key: str, tensor: _Tensor, spans: _Spans) -> StoredTensor:
    storage, width = tensor.storage, DTYPES[tensor.storage.dtype].itemsize
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    # Strides of 0 make a tensor larger than its storage: weights are not stored like this, and it could fill the
    # memory.
    if math.prod(tensor.shape) > storage.size:
        raise CorruptSource(
            f"{path}: the tensor {key} has shape {list(tensor.shape)}, but its storage has {storage.size} elements"
        )
    if math.prod(tensor.shape) and last >= storage.size:
        raise CorruptSource(
            f"{path}: the tensor {key} reaches to element {last} of a storage; expected at most {storage.size - 1}"
        )
    start, stop = spans.get(storage.key, (0, 0))
    if storage.key not in spans or stop - start < storage.size * width:
        raise CorruptSource(
            f"{path}: the tensor {key} uses the storage {storage.key}; expected {storage.size} {storage.dtype} "
            f"there, found {stop - start} bytes"
        )
    get = partial(view, mapped, start + tensor.offset * width, storage.dtype, tensor.shape, tensor.strides)
    return StoredTensor(path, key, tensor.shape, storage.dtype, "float" in storage.dtype, get)


def _zipped(stream: BinaryIO) -> tuple[dict[str, _Tensor], _Spans]:
    archive = zipfile.ZipFile(stream)
    entries = {entry.filename: entry for entry in archive.infolist()}
    (pickled,) = (name for name in entries if name.endswith("/data.pkl") or name == "data.pkl")
    root = pickled.removesuffix("data.pkl")
    if entries[pickled].file_size > _LARGEST_PICKLE:
        raise ValueError(f"its data.pkl has {entries[pickled].file_size} bytes")
    if f"{root}byteorder" in entries:
        with archive.open(f"{root}byteorder") as order:  # may be a zip bomb
            if order.read(7) != b"little":
                raise ValueError("its numbers are not little-endian")
    tensors = _tensors(_Unpickler(io.BytesIO(archive.read(pickled))).load())
    spans: _Spans = {}
    for name, entry in entries.items():
        if name.startswith(f"{root}data/"):
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed")
            stream.seek(entry.header_offset)
            header = stream.read(30)  # the local header has its own lengths: PKWARE's APPNOTE, 4.3.7
            if header[:4] != b"PK\x03\x04":
                raise ValueError(f"{name} is not at the offset in the directory")
            start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
            spans[name.removeprefix(f"{root}data/")] = start, start + entry.file_size
    return tensors, spans


def _legacy(stream: BinaryIO) -> tuple[dict[str, _Tensor], _Spans]:
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = io.BytesIO(stream.read(_LARGEST_PICKLE))
    if _Unpickler(head).load() != _LEGACY_MAGIC:
        raise ValueError("it does not start with torch.save's magic number")
    _Unpickler(head).load()  # version of the protocol
    system = _Unpickler(head).load()
    if not system.get("little_endian", True):
        raise ValueError("its numbers are big-endian")
    tensors = _tensors(_Unpickler(head).load())
    keys = _Unpickler(head).load()
    widths = {value.storage.key: DTYPES[value.storage.dtype].itemsize for value in tensors.values()}
    spans: _Spans = {}
    stop = head.tell()
    for key in keys:
        stream.seek(stop)
        (size,) = struct.unpack("<q", stream.read(8))
        start = stream.tell()
        if key not in widths or size < 0 or start + size * widths[key] > end:
            raise ValueError(f"the storage {key} is incomplete")
        stop = start + size * widths[key]
        spans[key] = start, stop
    return tensors, spans
