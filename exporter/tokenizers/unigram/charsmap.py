"""SentencePiece's ``precompiled_charsmap``: a Darts double-array trie of UTF-8 keys, and their replacements."""

import struct
from collections.abc import Mapping

import numpy as np

from . import reference
from .spec import Step

#: Maximum bytes of a grapheme cluster that the normaliser treats as a whole.
LONGEST = 5
_LEAF = 1 << 31


def entries(charsmap: bytes) -> dict[str, str]:
    """Key -> replacement.

    Raises:
        ValueError: not such a map.
    """
    (size,) = struct.unpack_from("<I", charsmap)
    units = np.frombuffer(charsmap, "<u4", size // 4, 4).astype(np.int64)
    texts = charsmap[4 + size :]
    found: dict[str, str] = {}
    # All keys of a length at once: node ids, and the keys that lead there.
    nodes, keys = np.array([_offset(units[0])]), [b""]
    while keys:
        below = nodes[:, np.newaxis] ^ np.arange(1, 256)[np.newaxis, :]
        unit = units[np.minimum(below, len(units) - 1)]
        row, byte = np.nonzero((below < len(units)) & ((unit & (_LEAF | 0xFF)) == np.arange(1, 256)[np.newaxis, :]))
        unit = unit[row, byte]
        keys = [keys[of] + bytes([at + 1]) for of, at in zip(row.tolist(), byte.tolist(), strict=True)]
        nodes = below[row, byte] ^ _offset(unit)
        for key, ends, node in zip(keys, ((unit >> 8) & 1).tolist(), nodes.tolist(), strict=True):
            if ends:
                begin = int(units[node] & (_LEAF - 1))
                found[key.decode()] = texts[begin : texts.index(b"\0", begin)].decode()
    return found


def reachable(texts: Mapping[str, str]) -> dict[str, str]:
    """The entries that can apply: the shortest key counts, and a key of several code points must be a short cluster."""
    return {
        key: text
        for key, text in texts.items()
        if (len(key) == 1 or len(key.encode()) <= LONGEST) and not any(key[:end] in texts for end in range(1, len(key)))
    }


def joined(texts: Mapping[str, str], step: Step) -> str | None:
    """The first character of a key, if it may join a cluster in a way that :mod:`.graphemes` does not know."""
    made = reference.normalizer([step]).normalize_str
    mark = "\u0301"
    for first in sorted({key[0] for key in texts}):
        if not made(f"{first}x{mark}").endswith(made(f"x{mark}")):
            return first
        # After conjoining jamo, or a regional indicator, a cluster is long, so that the mark at its end is kept.
        # (What joins any letter before it is told by its class.)
        short = len(first.encode()) <= LONGEST - 2 and not made(f"\u4e00{first}{mark}").endswith(mark)
        if short and any(made(before + first + mark).endswith(mark) for before in "\u1100\u1161\u11a8\U0001f1e6"):
            return first
    return None


def write(texts: Mapping[str, str]) -> bytes:
    """A map of one short key, for queries about clusters."""
    ((key, text),) = texts.items()
    units = np.zeros(4096, "<u4")
    units[0] = 256 << 10
    node, last = 256, len(key.encode()) - 1
    for at, byte in enumerate(key.encode()):
        node ^= byte
        offset = 512 * (at + 1)
        units[node] = offset << 10 | (1 << 8 if at == last else 0) | byte
        node ^= offset
    units[node] = _LEAF
    return struct.pack("<I", units.nbytes) + units.tobytes() + text.encode() + b"\0"


def _offset(unit: np.ndarray) -> np.ndarray:
    return (unit >> 10) << ((unit & (1 << 9)) >> 6)
