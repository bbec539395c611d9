"""Weight files: one module per format, which lists the tensors of a file without reading them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import CorruptSource
from ...families.names import KERAS, TORCH, Style
from ..jsonfile import read_object
from ..stored import StoredTensor
from . import keras_h5, safetensors, tf_checkpoint, torch_pickle

_READERS: Mapping[str, tuple[Callable[[Path], dict[str, StoredTensor]], Style]] = {
    ".safetensors": (safetensors.read, TORCH),
    ".bin": (torch_pickle.read, TORCH),
    ".h5": (keras_h5.read, KERAS),
}
_INDEX = ".index.json"
_LFS = b"version https://git-lfs"
#: Weight files of a Hugging Face folder, the preferred first: a file, or the index of its shards.
WEIGHT_FILES = tuple(
    name + ending for name in ("model.safetensors", "pytorch_model.bin", "tf_model.h5") for ending in ("", _INDEX)
)


@dataclass(frozen=True)
class WeightFiles:
    """The weights of a folder.

    Attributes:
        tensors: tensors by key.
        style: naming style of the keys.
        files: files that were read, including an index.
        where: the file named in errors about a missing tensor.
    """

    tensors: dict[str, StoredTensor]
    style: Style
    files: list[Path]
    where: Path


def read_folder(folder: Path) -> WeightFiles:
    """List the tensors of a folder's preferred weight file.

    Raises:
        CorruptSource: no weight files, or damaged or incomplete ones.
        UnsupportedModel: a file that contains other objects than tensors.
    """
    for name in WEIGHT_FILES:
        path = folder / name
        if path.is_file():
            _refuse_pointer(path)
            read, style = _READERS[Path(name.removesuffix(_INDEX)).suffix]
            if name.endswith(_INDEX):
                tensors, files = _shards(path, read)
            else:
                tensors, files = read(path), [path]
            if style is TORCH and any(
                "/" in key for key in tensors
            ):  # transformers' TensorFlow models write this format too
                style = KERAS
            return WeightFiles(tensors, style, files, path)
    prefix = tf_checkpoint.find(folder)
    if prefix is not None:
        tensors, style = tf_checkpoint.read(prefix)
        return WeightFiles(tensors, style, tf_checkpoint.files_of(prefix), Path(f"{prefix}.index"))
    raise CorruptSource(
        f"{folder}: no weights found; expected one of {', '.join(WEIGHT_FILES)}, or a TensorFlow checkpoint "
        "(*.index, *.data-*)"
    )


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as stream:
        if stream.read(len(_LFS)) == _LFS:
            raise CorruptSource(
                f"{path}: expected weights, found a pointer of Git LFS; get the file itself with: git lfs pull"
            )


def _shards(index: Path, read: Callable[[Path], dict[str, StoredTensor]]) -> tuple[dict[str, StoredTensor], list[Path]]:
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CorruptSource(f"{index}: no weight_map; expected an object of tensor names and file names")
    tensors: dict[str, StoredTensor] = {}
    names = sorted(set(weight_map.values()))
    for name in names:
        if Path(name).name != name:
            raise CorruptSource(f"{index}: the shard {name!r} is outside the folder")
        if not (index.parent / name).is_file():
            raise CorruptSource(f"{index.parent / name}: the shard is missing; {index.name} lists it")
        _refuse_pointer(index.parent / name)
        for key, tensor in read(index.parent / name).items():
            if key in tensors:
                raise CorruptSource(f"{tensor} is in {tensors[key].file.name} too; expected it once")
            tensors[key] = tensor
    missing = sorted(set(weight_map) - set(tensors))
    if missing:
        raise CorruptSource(
            f"{index.parent / weight_map[missing[0]]}: the tensor {missing[0]} is missing; {index.name} lists it in "
            "this shard"
        )
    return tensors, [index, *(index.parent / name for name in names)]
