"""Little-endian numbers in a mapped file, as arrays."""

import numpy as np

#: Name of a dtype -> numpy's code of what is stored. numpy has no bfloat16: see :func:`view`.
DTYPES = {
    "float16": "f2",
    "bfloat16": "f*",
    "float32": "f4",
    "float64": "f8",
    "int8": "i1",
    "int16": "i2",
    "int32": "i4",
    "int64": "i8",
    "uint8": "u1",
    "bool": "b1",
}


def view(
    mapped: np.ndarray, offset: int, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...] | None = None
) -> np.ndarray:
    """An array over bytes of ``mapped``; a copy, as float32, where the dtype is bfloat16.

    Args:
        mapped: uint8, the file.
        offset: first byte.
        dtype: one of :data:`DTYPES`.
        shape: of the array.
        strides: in elements; row by row where left out.

    Raises:
        ValueError: the array does not lie within the file.
    """
    stored = np.dtype("<u2" if dtype == "bfloat16" else DTYPES[dtype]).newbyteorder("<")
    in_bytes = None if strides is None else tuple(stride * stored.itemsize for stride in strides)
    array: np.ndarray = np.ndarray(shape, stored, mapped.data, offset, in_bytes)
    if dtype == "bfloat16":  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
