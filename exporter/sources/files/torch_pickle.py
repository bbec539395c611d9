"""pytorch_model.bin: what ``torch.save`` writes, read without PyTorch and without running anything of it.

Both of PyTorch's formats (torch/serialization.py, ``_save`` and ``_legacy_save``) are a pickle that rebuilds
tensors over storages, and the storages as plain bytes: since 1.6 a zip with ``data.pkl`` and ``data/<key>``,
before that one stream. A pickle can name any function of any module; the unpickler here answers for the few
names that a dict of tensors needs, with inert stand-ins, and refuses every other before anything is called.
"""

import io
import math
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ...errors import CorruptSource, UnsupportedModel
from ..stored import StoredTensor
from .raw import DTYPES, view

_STORAGES = {
    "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "FloatStorage": "float32", "DoubleStorage": "float64",
    "CharStorage": "int8", "ShortStorage": "int16", "IntStorage": "int32", "LongStorage": "int64",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
_SIZES = {name: 2 if dtype == "bfloat16" else np.dtype(DTYPES[dtype]).itemsize for name, dtype in _STORAGES.items()}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
#: Where training loops keep the model among other things.
_STATE_DICTS = ("state_dict", "model_state_dict", "model")
#: A pickle of names and shapes only: BERT-large's has 60 KB.
_LARGEST_PICKLE = 16 << 20


class _StorageType(NamedTuple):
    name: str


class _Storage(NamedTuple):
    """Elements of one dtype under a key."""

    type: str
    key: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RebuildTensor:
    # Neither this nor what it returns has attributes that a pickle could set.
    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Tensor:
        numbers = (offset, *shape, *strides)
        if type(storage) is not _Storage or len(shape) != len(strides):
            raise pickle.UnpicklingError("a tensor is not described as one")
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise pickle.UnpicklingError("a tensor's shape is not one")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, data: Any, *rest: Any) -> Any:
        return data


class _Refused(Exception):
    """The pickle names something that no tensor needs."""


class _Unexpected(Exception):
    """The pickle is something else than a dict of tensors."""


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """In Python: the one in C makes a table as large as the largest number that the pickle gives to an object."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _RebuildParameter()
        if module == "torch" and name in _STORAGES:
            return _StorageType(name)
        raise _Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        kind, storage_type, key, _, size, *rest = pid
        if kind != "storage" or type(storage_type) is not _StorageType or any(part is not None for part in rest):
            raise pickle.UnpicklingError("a storage is not described as one")
        if type(size) is not int or type(key) is not str:
            raise pickle.UnpicklingError("a storage's size is not one")
        return _Storage(storage_type.name, key, size)


def read(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one file.

    Raises:
        UnsupportedModel: it holds other things than tensors: a whole model, code, quantized weights.
        CorruptSource: it is no file of ``torch.save``, or not a whole one.
    """
    try:
        with path.open("rb") as stream:
            if zipfile.is_zipfile(stream):
                stream.seek(0)
                tensors, start_of = _zipped(stream)
            else:
                stream.seek(0)
                tensors, start_of = _legacy(stream)
        mapped = np.memmap(path, np.uint8, "r")
    except _Unexpected as error:
        raise UnsupportedModel(f"{path}: expected a dict of tensors, found {error}") from None
    except _Refused as error:
        raise UnsupportedModel(
            f"{path}: the pickle in it names {error}; expected tensors only. Nothing of it was run. "
            "If you trust its origin, load it with PyTorch and save its state_dict() as model.safetensors"
        ) from None
    # An unpickler raises whatever a damaged stream makes of it.
    except Exception as error:
        raise CorruptSource(
            f"{path}: not a readable file of torch.save (cut short?): expected a dict of tensors, "
            f"found {os.path.getsize(path)} bytes: {str(error) or type(error).__name__}"
        ) from error
    return {key: _stored(path, mapped, key, value, start_of) for key, value in tensors.items()}


def _tensors(state: Any) -> dict[str, _Tensor]:
    """The tensors of a state dict, or of the only one among what a training loop saved beside it."""
    if not isinstance(state, dict):
        raise _Unexpected(f"a {type(state).__name__}")
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, _Tensor)}
    inner = [key for key in _STATE_DICTS if isinstance(state.get(key), dict)]
    if tensors or not inner:
        return tensors
    if len(inner) > 1:
        raise _Unexpected(" and ".join(inner))
    return _tensors(state[inner[0]])


def _stored(
    path: Path, mapped: np.ndarray, key: str, tensor: _Tensor, start_of: Callable[[_Storage], int]
) -> StoredTensor:
    storage, dtype = tensor.storage, _STORAGES[tensor.storage.type]
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    # Strides of 0 make a tensor larger than its storage: no weight is stored so, and it could fill the memory.
    if math.prod(tensor.shape) > storage.size:
        raise CorruptSource(
            f"{path}: the tensor {key} has shape {list(tensor.shape)}, but its storage has {storage.size} elements"
        )
    if math.prod(tensor.shape) and last >= storage.size:
        raise CorruptSource(
            f"{path}: the tensor {key} reaches to element {last} of a storage; expected at most {storage.size - 1}"
        )
    try:
        start = start_of(storage)
    except (KeyError, ValueError) as error:
        raise CorruptSource(
            f"{path}: the tensor {key} lies in the storage {storage.key}; expected {storage.size} {dtype} there, "
            f"found {error}"
        ) from error
    start += tensor.offset * _SIZES[storage.type]
    get = partial(view, mapped, start, dtype, tensor.shape, tensor.strides)
    return StoredTensor(path, key, tensor.shape, dtype, DTYPES[dtype].startswith("f"), get)


def _zipped(stream: BinaryIO) -> tuple[dict[str, _Tensor], Callable[[_Storage], int]]:
    """The pickled tensors, and a function from a storage to its first byte."""
    archive = zipfile.ZipFile(stream)
    entries = {entry.filename: entry for entry in archive.infolist()}
    (pickled,) = (name for name in entries if name.endswith("/data.pkl") or name == "data.pkl")
    root = pickled.removesuffix("data.pkl")
    if entries[pickled].file_size > _LARGEST_PICKLE:
        raise ValueError(f"its data.pkl has {entries[pickled].file_size} bytes")
    if f"{root}byteorder" in entries:
        with archive.open(f"{root}byteorder") as order:  # which may be a bomb
            if order.read(7) != b"little":
                raise ValueError("its numbers are not little-endian")
    tensors = _tensors(_Unpickler(io.BytesIO(archive.read(pickled))).load())
    starts: dict[str, int] = {}
    for name, entry in entries.items():
        if name.startswith(f"{root}data/"):
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed")
            stream.seek(entry.header_offset)
            header = stream.read(30)  # the local header has lengths of its own: PKWARE's APPNOTE, 4.3.7
            if header[:4] != b"PK\x03\x04":
                raise ValueError(f"{name} is not where the directory says")
            starts[name] = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))

    def start_of(storage: _Storage) -> int:
        name = f"{root}data/{storage.key}"
        if name not in entries:
            raise ValueError("nothing")
        if entries[name].file_size < storage.size * _SIZES[storage.type]:
            raise ValueError(f"{entries[name].file_size} bytes")
        return starts[name]

    return tensors, start_of


class _Bounded:
    """The pickles at the start of a file of the old format, as far as they may reach."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._left = stream, _LARGEST_PICKLE

    def read(self, size: int) -> bytes:
        return self._taken(self._stream.read(min(size, self._left + 1)))

    def readline(self) -> bytes:
        return self._taken(self._stream.readline(self._left + 1))

    def _taken(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"its pickles have more than {_LARGEST_PICKLE} bytes")
        return data


def _legacy(file: BinaryIO) -> tuple[dict[str, _Tensor], Callable[[_Storage], int]]:
    stream = _Bounded(file)
    if _Unpickler(stream).load() != _LEGACY_MAGIC:
        raise ValueError("it does not start as torch.save starts a file")
    _Unpickler(stream).load()  # version of the protocol
    system = _Unpickler(stream).load()
    if not system.get("little_endian", True):
        raise ValueError("its numbers are big-endian")
    tensors = _tensors(_Unpickler(stream).load())
    keys = _Unpickler(stream).load()
    sizes = {value.storage.key: _SIZES[value.storage.type] for value in tensors.values()}
    end = os.fstat(file.fileno()).st_size
    found: dict[str, tuple[int, int]] = {}
    for key in keys:
        (size,) = struct.unpack("<q", file.read(8))
        start = file.tell()
        if key not in sizes or size < 0 or start + size * sizes[key] > end:
            raise ValueError(f"the storage {key} is not whole")
        found[key] = start, size
        file.seek(start + size * sizes[key])

    def start_of(storage: _Storage) -> int:
        if storage.key not in found:
            raise ValueError("nothing")
        start, size = found[storage.key]
        if size < storage.size:
            raise ValueError(f"{size} elements")
        return start

    return tensors, start_of
