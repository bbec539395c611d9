"""Varints: the encoding of whole numbers in protobuf and in LevelDB's tables, seven bits per byte, lowest bits first.

The format: https://protobuf.dev/programming-guides/encoding/#varints
"""


def decode(data: bytes, at: int) -> tuple[int, int]:
    """The number at a position, and the position after it.

    Raises:
        IndexError: the data ends within the number.
        ValueError: it has more than 64 bits.
    """
    value = data[at]
    if value < 0x80:  # as most are
        return value, at + 1
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a varint is longer than 64 bits")


def encode(value: int) -> bytes:
    """The encoding of a non-negative number."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
