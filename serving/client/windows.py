"""Windows over texts that are too long for a model: where to cut, computed from token offsets. No I/O.

The windows are those of transformers: as many tokens as the model takes, with ``stride`` tokens shared by neighbours.
Cuts are between words, because a part of a word alone has other tokens: a window may have a few tokens less than the
limit, and share a few more with the window before it. Only a word longer than a window is cut itself.
"""

import math
import unicodedata
from collections.abc import Sequence
from typing import Final

from .results import Tokens

#: First byte of a part of a text, and the byte after its last byte.
Span = tuple[int, int]
#: Ideographs, each of which is a word for tokenizers: first and last code point (BERT's ``_is_chinese_char``).
_IDEOGRAPHS: Final = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2CEAF), (0x2F800, 0x2FA1F))
#: Safety factor on the mean number of tokens of the parts, so that few parts must be cut again.
_MARGIN: Final = 1.3


def room(tokens: Tokens) -> int:
    """The model's limit of tokens of a text, without special tokens; ``tokens`` are of a text that was cut."""
    return int((tokens.start_offsets >= 0).sum())


def parts(text: bytes, span: Span, tokens: Tokens) -> list[Span]:
    """Divide a span whose ``tokens`` were cut into spans that probably fit; the span itself if it cannot be divided."""
    start, end = span
    count = max(2, math.ceil(_MARGIN * tokens.token_count / room(tokens)))
    size = max(math.ceil((end - start) / count), 1)
    made = []
    while start < end:
        cut = start + size
        cut = end if cut >= end else _cut(text, cut, start)
        made.append((start, cut))
        start = cut
    return made


def windows(text: bytes, starts: Sequence[int], most: int, stride: int) -> list[tuple[Span, int]]:
    """Windows over a text, of at most ``most`` tokens, each with the number of its tokens.

    Args:
        text: the whole text.
        starts: the first byte of each of its tokens.
        most: the :func:`room` of the model.
        stride: minimum number of tokens that two neighbours share; less than ``most``.
    """
    first, made = 0, []
    while first + most < len(starts):
        stop = _between(text, starts, first + most, first + stride)
        made.append(((starts[first], starts[stop]), stop - first))
        first = _between(text, starts, stop - stride, first)
    return [*made, ((starts[first], len(text)), len(starts) - first)]


def _between(text: bytes, starts: Sequence[int], at: int, above: int) -> int:
    """The last token from ``at`` back to ``above`` (excluded) that begins a word; about ``at`` if there is none."""
    # One character may be several tokens, for example in Hangul.
    found = [token for token in range(at, above, -1) if starts[token] > starts[token - 1]]
    return next((token for token in found if begins_word(text, starts[token])), found[0] if found else at)


def _cut(text: bytes, at: int, above: int) -> int:
    """The last byte from ``at`` back to ``above`` (excluded) after a space, before a word, or before a character."""
    for fits in (_follows_space, begins_word, _begins):
        found = next((byte for byte in range(at, above, -1) if fits(text, byte)), None)
        if found is not None:
            return found
    return next((byte for byte in range(at, len(text)) if _begins(text, byte)), len(text))


def _follows_space(text: bytes, at: int) -> bool:
    return text[at - 1] in b" \t\n\r"


def _begins(text: bytes, at: int) -> bool:
    """Whether a byte is the first byte of a character."""
    return text[at] & 0xC0 != 0x80


def begins_word(text: bytes, at: int) -> bool:
    """Whether a text may be cut before a byte: next to white space, punctuation or an ideograph, not within a word."""
    if not _begins(text, at):
        return False
    before = text[max(at - 4, 0) : at].decode("utf-8", "ignore")[-1:]
    after = text[at : at + 4].decode("utf-8", "ignore")[:1]
    return any(_alone(char) for char in before + after)


def _alone(char: str) -> bool:
    """Whether a character is never part of a word of several characters."""
    if char.isascii():
        # Tokenizers remove control characters, so these do not separate words.
        return char in " \t\n\r" or not (char.isalnum() or unicodedata.category(char) == "Cc")
    code = ord(char)
    return unicodedata.category(char)[0] in "ZP" or any(first <= code <= last for first, last in _IDEOGRAPHS)
