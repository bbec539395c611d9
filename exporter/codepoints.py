"""What BERT's normaliser and pre-tokeniser do to each single code point, as a table made by the reference itself.

BERT's normalisation (clean-up, spaces around Chinese characters, NFD without nonspacing marks, lower case) maps
code points one by one, so asking the Hugging Face ``BertNormalizer`` for each of them gives the whole of it, free
of any Unicode version or case-folding rule but the reference's own. ``BertPreTokenizer`` then looks at one code
point at a time too: white space parts words, punctuation is a word of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .sources.checkpoint import TokenizerRules

__all__ = ["ISOLATED", "MANY", "PAGE", "SPACE", "WORD", "CodePointTable", "build"]

#: Classes of a code point after normalisation: part of a word, a word of its own, a gap between words. ``MANY``
#: marks a code point that becomes none or several, listed in ``CodePointTable.many``.
WORD, ISOLATED, SPACE, MANY = range(4)
PAGE = 256

_CODE_POINTS = 0x110000
_BLANK = ord(" ")
_MARK = ord("#")


@dataclass(frozen=True)
class CodePointTable:
    """A two-level table over all code points.

    ``pages[page_index[c // PAGE], c % PAGE]`` is ``value << 2 | class``. The value is the distance to the code
    point that replaces c, so that most pages are alike and are kept once; for ``MANY`` it is the row in ``many``.

    Attributes:
        page_index: int32 ``[4352]``.
        pages: int32 ``[pages, PAGE]``.
        many_starts: int32 ``[rows]``, first entry of a row in ``many``.
        many_lengths: int32 ``[rows]``; row 0 is empty.
        many: int32 ``[entries]``, ``code point << 2 | class``.
    """

    page_index: np.ndarray
    pages: np.ndarray
    many_starts: np.ndarray
    many_lengths: np.ndarray
    many: np.ndarray


def build(rules: TokenizerRules) -> CodePointTable:
    """Ask the reference's normaliser and pre-tokeniser for every code point."""
    codes, starts, lengths, mapped = _normalize_each(rules)
    classes = _classify(mapped)

    values = np.full(_CODE_POINTS, MANY, np.int32)  # row 0 of many: removed
    single = lengths == 1
    target = mapped[starts[single]]
    values[codes[single]] = (target - codes[single]) << 2 | classes[target]
    # Spaces around one character (a Chinese one): a word of its own.
    padded = lengths == 3
    first, middle, last = (mapped[starts[padded] + at] for at in range(3))
    spaced = (first == _BLANK) & (last == _BLANK) & (middle != _BLANK)
    padded[padded] = spaced
    values[codes[padded]] = (middle[spaced] - codes[padded]) << 2 | ISOLATED
    rows: dict[tuple[int, ...], int] = {(): 0}
    for at in np.flatnonzero((lengths > 1) & ~padded):
        parts = mapped[starts[at] : starts[at] + lengths[at]]
        entry = tuple((parts << 2 | classes[parts]).tolist())
        values[codes[at]] = rows.setdefault(entry, len(rows)) << 2 | MANY

    pages: dict[bytes, int] = {}
    page_index = [pages.setdefault(page.tobytes(), len(pages)) for page in values.reshape(-1, PAGE)]
    row_lengths = np.array([len(entry) for entry in rows], np.int32)
    return CodePointTable(
        page_index=np.array(page_index, np.int32),
        pages=np.frombuffer(b"".join(pages), np.int32).reshape(-1, PAGE),
        many_starts=(np.cumsum(row_lengths) - row_lengths).astype(np.int32),
        many_lengths=row_lengths,
        many=np.array([value for entry in rows for value in entry] or [0], np.int32),
    )


def _normalize_each(rules: TokenizerRules) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Normalise every code point by itself.

    Returns:
        Code points ``[n]``; start ``[n]`` and length ``[n]`` of what each becomes, in the last array.
    """
    from tokenizers.normalizers import BertNormalizer

    normalizer = BertNormalizer(
        clean_text=rules.clean_text,
        handle_chinese_chars=rules.handle_chinese_chars,
        strip_accents=rules.strip_accents,
        lowercase=rules.lowercase,
    )
    # All in one call, parted by a mark that nothing else is turned into, and over which no marks are reordered.
    # Lone surrogates never get here: the decoder turns them into U+FFFD.
    codes = np.arange(_CODE_POINTS, dtype=np.int32)
    codes = codes[((codes < 0xD800) | (codes > 0xDFFF)) & (codes != _MARK)]
    mapped = _code_points(normalizer.normalize_str(chr(_MARK).join(map(chr, codes.tolist())) + chr(_MARK)))
    stops = np.flatnonzero(mapped == _MARK)
    assert len(stops) == len(codes), "a code point is normalised to the mark between them"
    starts = np.concatenate([[0], stops[:-1] + 1])
    mark = np.append(codes, _MARK).astype(np.int32)  # the mark, too, stands for itself
    return mark, np.append(starts, stops[0]), np.append(stops - starts, 1), mapped


def _classify(mapped: np.ndarray) -> np.ndarray:
    """Class of every code point that occurs in ``mapped``; int32, indexed by code point."""
    from tokenizers.pre_tokenizers import BertPreTokenizer

    codes = np.unique(mapped)
    # a?a?a...a: a character that belongs to words is joined with its neighbours.
    text = "a" + "".join(chr(code) + "a" for code in codes)
    at = np.full(len(text), SPACE, np.int32)
    for _, (start, stop) in BertPreTokenizer().pre_tokenize_str(text):
        at[start:stop] = ISOLATED if stop - start == 1 and start % 2 == 1 else WORD
    classes = np.full(_CODE_POINTS, WORD, np.int32)
    classes[codes] = at[1::2]
    return classes


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.int32)
