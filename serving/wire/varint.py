"""Varints: whole numbers as protobuf, and LevelDB's tables, write them, seven bits a byte and the lowest first.

The format: https://protobuf.dev/programming-guides/encoding/#varints
"""


def decode(data: bytes, at: int) -> tuple[int, int]:
    """The number that is written at a position, and the position after it.

    Raises:
        IndexError: the data ends in it.
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
            raise ValueError("a number is too long")


def encode(value: int) -> bytes:
    """A number, not negative, as it is written."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
