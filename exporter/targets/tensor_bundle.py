"""variables.index without TensorFlow: the tensors of a checkpoint, and their places in its shards.

The file is a table in LevelDB's format (tensorflow/core/lib/io/table.cc), never compressed: blocks of key-value pairs
with shared prefixes, an index block that points to them, a footer of 48 bytes that points to the index. The values are
BundleEntryProto messages (tensorflow/core/protobuf/tensor_bundle.proto).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from ...serving.wire import varint
from ..protos import BundleEntry, BundleHeader

_FOOTER = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
#: Compression byte and crc32c after each block.
_TRAILER = 5
#: Maximum size in bytes of the file, and of all keys and values in it. 100,000 variables take a tenth of it.
_MOST = 256 * 2**20
#: Minimum memory in bytes for an entry, in addition to its key and value.
_ENTRY = 100


class CorruptIndex(Exception):
    """The file is not a table of tensors, or contradicts itself or a shard; the message contains the reason."""


def shard_name(shard: int, shards: int) -> str:
    """File name of a shard, in the folder of ``variables.index``."""
    return f"variables.data-{shard:05d}-of-{shards:05d}"


def read_index(path: Path) -> tuple[int, list[tuple[str, Any]]]:
    """The number of shards, and name and ``BundleEntryProto`` of each tensor. The tensors do not overlap.

    Raises:
        CorruptIndex: it is not a table of tensors, or is damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise CorruptIndex(f"it has more than {_MOST} bytes")
    if len(data) < _FOOTER or data[-8:] != _MAGIC:
        raise CorruptIndex("it does not have the end of a table (cut short?)")
    shards, entries = 1, []
    try:
        for key, value in _bounded(_pairs(data)):
            if key:
                entries.append((key.decode("utf-8", "replace"), BundleEntry.FromString(value)))
            else:
                shards = BundleHeader.FromString(value).num_shards
        _check(shards, [entry for _, entry in entries])
    except (IndexError, ValueError, DecodeError) as error:
        raise CorruptIndex(f"it is damaged: {error}") from error
    return shards, entries


def _check(shards: int, entries: list[Any]) -> None:
    if not 1 <= shards <= max(1, len(entries)):
        raise ValueError(f"it claims {shards} shards for {len(entries)} tensors")
    ends = [0] * shards
    for entry in sorted(entries, key=lambda entry: (entry.offset, entry.size)):
        if not 0 <= entry.shard_id < shards:
            raise ValueError(f"a tensor is in shard {entry.shard_id} of {shards}")
        if entry.size < 0 or entry.offset < ends[entry.shard_id]:
            raise ValueError("tensors overlap")
        ends[entry.shard_id] = entry.offset + entry.size


def _pairs(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All pairs of the table."""
    footer = data[-_FOOTER:]
    _, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    left = len(data)
    for _, handle in _bounded(_block(data, *index)):
        offset, size = _handle(handle, 0)[0]
        left -= size + _TRAILER
        if left < 0:
            raise ValueError("blocks overlap")
        yield from _block(data, offset, size)


def _bounded(pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The pairs, while they fit into memory: with shared prefixes, a small file can unpack to gigabytes.

    Raises:
        ValueError: there are more.
    """
    left = _MOST
    for key, value in pairs:
        left -= len(key) + len(value) + _ENTRY
        if left < 0:
            raise ValueError(f"its keys and values have more than {_MOST} bytes")
        yield key, value


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Pairs of one block; keys are stored without the prefix shared with the previous key."""
    if offset + size + _TRAILER > len(data):
        raise ValueError("a block is beyond its end")
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
            raise ValueError("a value is beyond its block")
        yield key, block[at : at + length]
        at += length


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """A block's offset and size, and the position after them."""
    offset, at = varint.decode(data, at)
    size, at = varint.decode(data, at)
    return (offset, size), at
