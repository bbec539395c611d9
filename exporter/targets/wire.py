"""Protobuf's wire format, as far as it takes to read a file without what is large in it and not asked for.

A message is a row of fields, each a tag (its number, and how its value is written) and the value. Messages in it, and
bytes, are written behind their length, and can be passed over
(https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import BinaryIO, Union

from ...serving.wire import varint

__all__ = ["File", "Range", "Taken"]

#: Where something lies: its first byte, and the first behind it.
Range = tuple[int, int]
#: What is taken out of a message: fields by number, with what is taken out of these; or ``None`` for a field as a
#: whole, or a list that gets where each lies.
Taken = Mapping[int, Union["Taken", list[Range], None]]

#: Fields with fewer bytes are kept (unless a list asks for them).
_LARGE = 16_384
#: What is read to look for fields, and how far before its end: a tag and a length, or a number, have 20 at most.
_WINDOW, _HEAD = 4096, 20
_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5


class File:
    """A message's file, read where it is asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._window, self._first = b"", 0
        self.size = file.seek(0, io.SEEK_END)

    def read(self, place: Range) -> bytes:
        """What lies at a place."""
        if place[0] == place[1]:
            return b""
        start, end = (position - self._first for position in place)
        if start >= 0 and end <= len(self._window):
            return self._window[start:end]
        self._file.seek(place[0])
        return self._file.read(place[1] - place[0])

    def without(self, place: Range, taken: Taken) -> bytes:
        """The message at a place, without some of its large fields. What is damaged is kept as it is.

        Raises:
            OSError: the file cannot be read.
        """
        at, end = place
        kept = at  # from here on, all up to where it is read
        pieces = []
        window, first, last = self._look(at)
        try:
            while at < end:
                if at > last:
                    window, first, last = self._look(at)
                start = at
                tag, behind = varint.decode(window, at - first)
                kind = tag & 7
                if kind == _LEN:
                    size, behind = varint.decode(window, behind)
                    body = first + behind
                    at = body + size
                    if at > end:
                        break
                    number = tag >> 3
                    if number not in taken:
                        continue
                    inner = taken[number]
                    if isinstance(inner, list):
                        inner.append((body, at))
                    elif size < _LARGE:
                        continue
                    pieces.append(self.read((kept, start)))
                    kept = at
                    if isinstance(inner, Mapping):
                        smaller = self.without((body, at), inner)
                        pieces += [varint.encode(tag), varint.encode(len(smaller)), smaller]
                elif kind == _VARINT:
                    at = first + varint.decode(window, behind)[1]
                elif kind in (_I64, _I32):
                    at = first + behind + (8 if kind == _I64 else 4)
                else:
                    break
        except (IndexError, ValueError):
            pass  # cut short, or damaged: whoever parses it says so
        return b"".join([*pieces, self.read((kept, end))])

    def _look(self, at: int) -> tuple[bytes, int, int]:
        """What lies around a position, where that begins, and the last position in it where a field's head may be."""
        if not self._first <= at <= self._first + len(self._window) - _HEAD:
            self._window, self._first = self.read((at, at + _WINDOW)), at
        return self._window, self._first, self._first + len(self._window) - _HEAD
