"""variables.index without TensorFlow: which tensors the shards of a checkpoint hold, and where.

The file is a table in LevelDB's format (tensorflow/core/lib/io/table.cc), never compressed: blocks of key-value pairs
with shared prefixes, an index block that points at them, a footer of 48 bytes that points at the index. The values are
BundleEntryProto messages (tensorflow/core/protobuf/tensor_bundle.proto).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from ...serving.wire import varint
from ..protos import BundleEntry, BundleHeader

__all__ = ["CorruptIndex", "read_index", "shard_name"]

_FOOTER = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
#: Compression byte and crc32c behind each block.
_TRAILER = 5


class CorruptIndex(Exception):
    """The file is no such table, or cut short; the message says which."""


def shard_name(shard: int, shards: int) -> str:
    """File name of a shard, beside ``variables.index``."""
    return f"variables.data-{shard:05d}-of-{shards:05d}"


def read_index(path: Path) -> tuple[int, list[tuple[str, Any]]]:
    """The number of shards, and the tensors in them: name and ``BundleEntryProto``.

    Raises:
        CorruptIndex: it cannot be read as a table of tensors.
        OSError: it cannot be read at all.
    """
    data = path.read_bytes()
    if len(data) < _FOOTER or data[-8:] != _MAGIC:
        raise CorruptIndex("it does not end as a table does (cut short?)")
    try:
        footer = data[-_FOOTER:]
        _, at = _handle(footer, 0)
        index, _ = _handle(footer, at)
        shards, entries = 1, []
        for _, handle in _block(data, *index):
            for key, value in _block(data, *_handle(handle, 0)[0]):
                if not key:
                    shards = BundleHeader.FromString(value).num_shards
                    continue
                entries.append((key.decode("utf-8", "replace"), BundleEntry.FromString(value)))
    except (IndexError, ValueError, DecodeError) as error:
        raise CorruptIndex(f"it is damaged: {error}") from error
    return shards, entries


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Pairs of one block; each key is written as what it adds to the beginning of the one before."""
    if offset + size + _TRAILER > len(data):
        raise ValueError("a block lies beyond its end")
    if data[offset + size] != 0:
        raise ValueError("a block is compressed")
    block = data[offset : offset + size]
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError("a block is too short")
    at, key = 0, b""
    while at < end:
        shared, at = varint.decode(block, at)
        added, at = varint.decode(block, at)
        length, at = varint.decode(block, at)
        key = key[:shared] + block[at : at + added]
        at += added
        if at + length > end:
            raise ValueError("a value lies beyond its block")
        yield key, block[at : at + length]
        at += length


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """A block's offset and size, and the position behind them."""
    offset, at = varint.decode(data, at)
    size, at = varint.decode(data, at)
    return (offset, size), at
