"""Tables over all code points, built with numpy and stored in pages; :mod:`.lookup` reads them in the graph."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

CODE_POINTS = 0x110000
PAGE = 256


def scalars() -> np.ndarray:
    """All code points of decoded texts, int32: without surrogates, which the decoder turns into U+FFFD."""
    codes = np.arange(CODE_POINTS, dtype=np.int32)
    return codes[(codes < 0xD800) | (codes > 0xDFFF)]


def flags(codes: Iterable[int]) -> np.ndarray:
    """bool ``[CODE_POINTS]``, true for the given code points."""
    table = np.zeros(CODE_POINTS, bool)
    table[list(codes)] = True
    return table


def each(normalize: Callable[[str], str], mark: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise every code point separately.

    Args:
        normalize: function that works code point by code point, except that it orders marks.
        mark: a character that stays unchanged, that no other is turned into, and that marks are not moved across.

    Returns:
        Code points ``[n]``; start of the result of each in the last array, ``[n + 1]``; results.
    """
    # All in one call, separated by the mark, which comes last.
    codes = scalars()
    codes = codes[codes != ord(mark)]
    mapped = np.frombuffer(normalize(mark.join(map(chr, codes.tolist())) + mark).encode("utf-32-le"), np.int32)
    stops = np.flatnonzero(mapped == ord(mark))
    assert len(stops) == len(codes), "a code point is normalised to the separator"
    codes, ends = np.append(codes, np.int32(ord(mark))), stops - np.arange(len(stops))
    return codes, np.concatenate([[0], ends, ends[-1:] + 1]), np.append(np.delete(mapped, stops), np.int32(ord(mark)))


@dataclass(frozen=True)
class Pages:
    """A table that stores equal pages once: ``pages[page_index[c // PAGE], c % PAGE]`` is the value of c.

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
