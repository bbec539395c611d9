"""Tables over all code points, made with numpy and kept in pages; :mod:`.lookup` looks things up in the graph."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

CODE_POINTS = 0x110000
PAGE = 256


def scalars() -> np.ndarray:
    """Every code point that a text can have, int32: no surrogates, which the decoder turns into U+FFFD."""
    codes = np.arange(CODE_POINTS, dtype=np.int32)
    return codes[(codes < 0xD800) | (codes > 0xDFFF)]


def flags(codes: Iterable[int]) -> np.ndarray:
    """bool ``[CODE_POINTS]``, true for some code points."""
    table = np.zeros(CODE_POINTS, bool)
    table[list(codes)] = True
    return table


def each(normalize: Callable[[str], str], mark: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise every code point by itself.

    Args:
        normalize: goes through a text code point by code point, but for marks that it puts in order.
        mark: a character that stays as it is, that nothing else is turned into, and over which no marks are moved.

    Returns:
        Code points ``[n]``; where what each becomes begins in the last array, ``[n + 1]``; what they become.
    """
    # All in one call, parted by the mark, which goes last.
    codes = scalars()
    codes = codes[codes != ord(mark)]
    mapped = np.frombuffer(normalize(mark.join(map(chr, codes.tolist())) + mark).encode("utf-32-le"), np.int32)
    stops = np.flatnonzero(mapped == ord(mark))
    assert len(stops) == len(codes), "a code point is normalised to the mark between them"
    codes, ends = np.append(codes, np.int32(ord(mark))), stops - np.arange(len(stops))
    return codes, np.concatenate([[0], ends, ends[-1:] + 1]), np.append(np.delete(mapped, stops), np.int32(ord(mark)))


@dataclass(frozen=True)
class Pages:
    """A table of which equal pages are kept once: ``pages[page_index[c // PAGE], c % PAGE]`` is the value of c.

    Attributes:
        page_index: int32 ``[4352]``.
        pages: int32 ``[pages, PAGE]``.
    """

    page_index: np.ndarray
    pages: np.ndarray


def paged(values: np.ndarray) -> Pages:
    """Pages of a table int32 ``[CODE_POINTS]``."""
    found: dict[bytes, int] = {}
    index = [found.setdefault(page.tobytes(), len(found)) for page in values.astype(np.int32).reshape(-1, PAGE)]
    return Pages(np.array(index, np.int32), np.frombuffer(b"".join(found), np.int32).reshape(-1, PAGE))
