"""Little-endian numbers in a mapped file, as arrays."""

import numpy as np

_NAMES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
#: Name of a dtype -> numpy dtype of its storage. numpy has no bfloat16: see :func:`view`.
DTYPES = {"bfloat16": np.dtype("<u2")} | {name: np.dtype(name).newbyteorder("<") for name in _NAMES}


def view(
    mapped: np.ndarray, offset: int, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...] | None = None
) -> np.ndarray:
    """An array over bytes of ``mapped``; for bfloat16, a copy as float32.

    Args:
        mapped: uint8, the file.
        offset: first byte.
        dtype: one of :data:`DTYPES`.
        shape: of the array.
        strides: in elements; row-major if left out.

    Raises:
        ValueError: the array is not within the file.
    """
    stored = DTYPES[dtype]
    in_bytes = None if strides is None else tuple(stride * stored.itemsize for stride in strides)
    array: np.ndarray = np.ndarray(shape, stored, mapped.data, offset, in_bytes)
    if dtype == "bfloat16":  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
