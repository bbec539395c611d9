"""Tables over all code points: made with numpy, kept in pages, looked up in the graph."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

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


class Lookup:
    """A paged table in the graph."""

    def __init__(self, table: Pages) -> None:
        self._page_index, self._pages = tf.constant(table.page_index), tf.constant(table.pages.reshape(-1))

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        """The values of code points, int32, of the same shape."""
        return tf.gather(self._pages, tf.gather(self._page_index, codes // PAGE) * PAGE + codes % PAGE)
