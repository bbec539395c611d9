"""tf_model.h5: the weights of transformers' TensorFlow models in HDF5, read one data set at a time."""

from functools import partial
from pathlib import Path

import numpy as np

from ...errors import CorruptSource, UnsupportedModel
from ..stored import StoredTensor, unreadable

#: Size in bytes, and the largest compression ratio of larger tensors: HDF5 compresses, and does not store zeros.
_SMALL, _LARGEST_RATIO = 1 << 20, 100


def read(path: Path) -> dict[str, StoredTensor]:
    """The data sets of one file, by their path in it.

    Raises:
        CorruptSource: not a complete HDF5 file.
        UnsupportedModel: a reference to another file.
    """
    import h5py

    tensors: dict[str, StoredTensor] = {}

    def visit(key: str, item: object) -> None:  # links to other files are not visited
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise UnsupportedModel(f"{path}: the tensor {key} refers to another file; expected its values here")
            if item.nbytes > max(_SMALL, _LARGEST_RATIO * item.id.get_storage_size()):
                raise UnsupportedModel(
                    f"{path}: the tensor {key} has {item.nbytes} bytes but is stored in {item.id.get_storage_size()}; "
                    "expected weights, which hardly compress"
                )
            get = partial(_get, path, key)
            tensors[key] = StoredTensor(path, key, item.shape, str(item.dtype), item.dtype.kind == "f", get)

    try:
        with h5py.File(path, "r") as stream:
            stream.visititems(visit)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise unreadable(path, "not a readable HDF5 file", "weights of a Keras model", error) from error
    return tensors


def _get(path: Path, key: str) -> np.ndarray:
    import h5py

    try:
        with h5py.File(path, "r") as stream:
            return stream[key][()]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CorruptSource(f"{path}: the tensor {key} cannot be read: {error}") from error
