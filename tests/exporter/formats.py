"""Checkpoints in other formats: tiny ones by official tools, and files in PyTorch's layout."""

from __future__ import annotations

import io
import pickle
import shutil
import sys
import tarfile
import types
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from folders import DATA

#: Folder in tiny_formats.tar.xz -> the tiny folder with its other files; ``None`` if it is complete.
FORMATS = {
    "bin": "tiny_bert",
    "bin-legacy": "tiny_bert",
    "h5": "tiny_bert",
    "google": None,
    "tf-models": None,
    "hub-v1": None,
    "distilbert-h5": "tiny_distilbert",
    "electra-h5": "tiny_electra",
}


def unpack(target: Path) -> Path:
    """The folders of tiny_formats.tar.xz, completed with their other files."""
    with tarfile.open(DATA / "tiny_formats.tar.xz") as archive:
        archive.extractall(target, filter="data")
    for name, rest in FORMATS.items():
        if rest is not None:
            shutil.copy(DATA / rest / "config.json", target / name)
            for file in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
                shutil.copy(DATA / "tiny_bert" / file, target / name)
    return target


def relative(family: str, target: Path) -> Path:
    """tiny_distilbert or tiny_electra with its vocabulary."""
    shutil.copytree(DATA / f"tiny_{family}", target)
    shutil.copy(DATA / "tiny_bert" / "vocab.txt", target)
    return target


class _Storage:
    def __init__(self, key: str, value: np.ndarray, kind: type) -> None:
        self.key, self.size, self.kind = key, value.size, kind


def write_bin(path: Path, tensors: Mapping[str, np.ndarray], **overrides: dict[str, tuple]) -> None:
    """The output of torch.save for a dict of float32, float16 or int64 tensors; PyTorch is not needed.

    ``overrides`` replaces, by tensor name, ``(storage offset, shape, strides)``.
    """
    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils")}

    def _rebuild_tensor_v2(*parts: object) -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    modules["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2
    kinds = {}
    for dtype, name in (("float32", "FloatStorage"), ("float16", "HalfStorage"), ("int64", "LongStorage")):
        kinds[dtype] = type(name, (), {"__module__": "torch"})
        setattr(modules["torch"], name, kinds[dtype])

    class Tensor:
        def __init__(self, name: str, key: str, value: np.ndarray) -> None:
            strides = tuple(stride // value.itemsize for stride in value.strides)
            self.parts = overrides.get("layout", {}).get(name, (0, value.shape, strides))
            self.storage = _Storage(key, value, kinds[value.dtype.name])

        def __reduce__(self):
            offset, shape, strides = self.parts
            return _rebuild_tensor_v2, (self.storage, offset, tuple(shape), tuple(strides), False, None)

    class Pickler(pickle.Pickler):
        def persistent_id(self, item: object):
            if isinstance(item, _Storage):
                return "storage", item.kind, item.key, "cpu", item.size
            return None

    pickled = io.BytesIO()
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        Pickler(pickled, protocol=2).dump(
            {name: Tensor(name, str(key), value) for key, (name, value) in enumerate(contiguous.items())}
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        archive.writestr("archive/byteorder", "little")
        for key, value in enumerate(contiguous.values()):
            with archive.open(f"archive/data/{key}", "w", force_zip64=True) as stream:
                stream.write(memoryview(value).cast("B"))
        archive.writestr("archive/version", "3\n")
