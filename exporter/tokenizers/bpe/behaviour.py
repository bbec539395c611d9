"""The reference parts of the tokenizers library, for queries: GPT-2's pattern, merging, and normal form C.

Unicode versions differ between libraries and their regular expressions. So this module contains no property of any
character: each is queried.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from tokenizers import Regex, models, normalizers

from ..tables import CODE_POINTS, scalars
from .spec import LETTERS, BpeSpec

#: Classes of a code point in GPT-2's pattern: ``\p{L}``, ``\p{N}``, ``\s``, and all others.
LETTER, NUMBER, OTHER, SPACE = range(4)
_BYTES = {letter: byte for byte, letter in enumerate(LETTERS)}


def spelled(token: str) -> bytes | None:
    """The bytes of a token of the vocabulary; ``None`` if it is not a spelling of bytes."""
    return bytes(_BYTES[letter] for letter in token) if all(letter in _BYTES for letter in token) else None


@functools.cache
def classes() -> np.ndarray:
    """The class of each code point, int32 ``[CODE_POINTS]``."""
    found = np.full(CODE_POINTS, OTHER, np.int32)
    every = "".join(map(chr, scalars()))
    for pattern, kind in ((r"[^\p{L}]", LETTER), (r"[^\p{N}]", NUMBER), (r"[^\s]", SPACE)):
        left = normalizers.Replace(Regex(f"{pattern}+"), "").normalize_str(every)
        found[np.frombuffer(left.encode("utf-32-le"), np.int32)] = kind
    return found


def model(spec: BpeSpec) -> Any:
    """The library's BPE model."""
    vocab = {token: at for at, token in enumerate(spec.vocab) if token is not None}
    return models.BPE(vocab, list(spec.merges), unk_token=spec.unknown_byte, ignore_merges=spec.ignore_merges)


def normalizer(spec: BpeSpec) -> Callable[[str], str]:
    """The library's normaliser as a function."""
    normalize: Callable[[str], str] = normalizers.NFC().normalize_str if spec.nfc else str
    return normalize


def whole_words(spec: BpeSpec) -> dict[bytes, int]:
    """Words, UTF-8, that become exactly one token -> its id.

    Merging the spelling of a token may give other tokens.
    """
    ask, words = model(spec), {}
    for at, token in enumerate(spec.vocab):
        word = None if token is None else spelled(token)
        if word and _is_utf8(word) and [made.id for made in ask.tokenize(token)] == [at]:
            words[word] = at
    return words


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def white_space_around(text: str) -> tuple[int, int]:
    """Number of characters at the start and at the end of a token that ``trim_offsets`` excludes."""
    blank = LETTERS[ord(" ")]
    found = [is_space(letter) or letter == blank for letter in text]
    lead = next((at for at, each in enumerate(found) if not each), len(found))
    trail = next((at for at, each in enumerate(reversed(found)) if not each), len(found))
    return lead, trail


def is_space(char: str) -> bool:
    """Whether a character is white space for the library's offsets."""
    return classes()[ord(char)] == SPACE
