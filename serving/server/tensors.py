"""numpy <-> the official TensorProto, in the way in which TensorFlow Serving reads requests and writes answers.

The client's codec also reads the official message. Writing differs: a server uses the field of each dtype
(``float_val`` and so on), while a client sends ``tensor_content``.
"""

import math
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2

from ..contract import DTYPE_NUMBERS
from ..errors import DecodeError
from ..wire import varint
from ..wire.codec import Array, decode_tensor
from .runtime import BFLOAT16, DTYPE_OF

#: Fields whose packed form is the array's own bytes.
_FIXED_WIDTH = {
    field: tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[field].number
    for field in ("float_val", "double_val", "scomplex_val", "dcomplex_val")
}

#: Maximum number of missing values that are filled up, so that a small request cannot use all memory or time.
_MOST_FILLED = 1 << 16


def decode(tensor: Any, name: str) -> Array:
    """A tensor of a request as an array; strings become an object array of bytes."""
    # A value has at least one byte.
    if math.prod(dim.size for dim in tensor.tensor_shape.dim) > tensor.ByteSize() + _MOST_FILLED:
        raise DecodeError(f"the tensor {name!r} has far fewer values than its shape requires")
    array = decode_tensor(tensor, name)
    # The codec converts bfloat16, which numpy lacks, to float32; both directions are exact.
    return array.astype(BFLOAT16) if tensor.dtype == DTYPE_NUMBERS["bfloat16"] else array


def encode_into(tensor: Any, value: Any, as_content: bool = False) -> None:
    """Fill a TensorProto with an output of a model, in the field of its dtype or in ``tensor_content``."""
    array = np.asarray(value, object if isinstance(value, bytes) else None)
    if array.dtype not in DTYPE_OF:
        raise TypeError(f"an output of dtype {array.dtype} cannot be sent")
    dtype = DTYPE_OF[array.dtype]
    tensor.dtype, field = dtype.number, dtype.field
    # Set even without dimensions, because a scalar has a shape, too.
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if not array.size:
        return
    if as_content and field == "string_val":
        # All lengths as varints, then all bytes.
        items = array.ravel().tolist()
        tensor.tensor_content = b"".join([*(varint.encode(len(item)) for item in items), *items])
    elif as_content:
        tensor.tensor_content = array.tobytes()
    elif field in _FIXED_WIDTH:
        # Parsing a packed field is one memory copy; extend() would create a Python float for every value.
        data = array.tobytes()
        tag = varint.encode(_FIXED_WIDTH[field] << 3 | 2)  # 2: a field with a length
        tensor.MergeFromString(tag + varint.encode(len(data)) + data)
    else:
        # For float16 and bfloat16, the bit pattern.
        values = array.view(np.uint16) if field == "half_val" else array
        getattr(tensor, field).extend(values.ravel().tolist())
