"""Generated texts of all scripts, which show differences between byte-level tokenizers."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable

SPACES = (
    " ", " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\u00a0", "\u1680",
    "\u2000", "\u2001", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\u180e",
    "\ufeff",
)  # fmt: skip
CONTROLS = "\x00\x01\x02\x08\x0e\x1b\x7f\x80\x9f\u00ad\u061c\u200e\u2066\ufdd0\ufffd\uffff\ue000\U000e0001\U0010ffff"
APOSTROPHES = (
    "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "''", "' ", " '", "’s", "'l", "'r", "'v", "'\u0301", "'ſ",
)  # fmt: skip
EMOJI = ("👩‍👩‍👧", "🏳️‍🌈", "👍🏽", "🇩🇪", "1️⃣", "😀", "❤️‍🔥", "🧑🏿‍🦰", "©️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿")
INDIC = (
    "क्ष",
    "ज्ञ",
    "त्र",
    "श्री",
    "ক্ষ",
    "ক্‌",
    "ন্ত্র",
    "ਸ੍ਰੀ",
    "ક્ષ",
    "ଶ୍ରୀ",
    "க்ஷ",
    "శ్రీ",
    "ಶ್ರೀ",
    "ശ്രീ",
    "ශ්‍රී",
    "ो",
    "ो",
    "ை",
    "ொ",
    "ொ",
    "ൊ",
    "ൊ",
)
THAI = ("กำ", "นํ้า", "เก็บ", "ใหญ่", "ຂໍ", "ນ້ຳ", "ပြည်", "ខ្មែរ", "བོད་ཡིག", "ཱྀ")
KANA = ("が", "が", "ぱ", "ぱ", "カ\u3099", "ヴ", "ヷ", "ﾊﾟ", "ｶﾞ", "々", "ー", "ゝ\u3099")
JAMO = (
    "한",
    "\u1100\u1161",
    "\u1100\u1161\u11a8",
    "\uac00\u11a8",
    "\uac01\u11a8",
    "\u1100",
    "\u1161",
    "\u11a8",
    "\u11a7",
    "\ua960",
    "\ud7b0",
    "ㄱㅏ",
    "ﾡ",
)
INVALID = (
    b"\xff",
    b"\xc3",
    b"\xe4\xb8",
    b"\xf0\x9f\x98",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x80",
    b"\xe4\xb8\xff",
)
SCRIPTS = (
    (0x20, 0x7F), (0x20, 0x7F), (0x61, 0x7B), (0x61, 0x7B), (0x30, 0x3A), (0xA1, 0x250), (0x1E00, 0x1F00),
    (0x250, 0x2B0), (0x370, 0x530), (0x1F00, 0x2000), (0x530, 0x5D0), (0x590, 0x780), (0x900, 0xE00), (0xE00, 0xF00),
    (0xF00, 0x1000), (0x1000, 0x1100), (0x1100, 0x1200), (0x1200, 0x1400), (0x1780, 0x1800),
    (0x2000, 0x2C00), (0x3000, 0x3200),
    (0x4E00, 0xA000), (0xA000, 0xAC00), (0xAC00, 0xD7B0), (0xF900, 0x10000), (0x10000, 0x12000), (0x1D100, 0x1D800),
    (0x1F100, 0x1FB00), (0x20000, 0x20100), (0x2F800, 0x2FA20), (0, 0xD800), (0xE000, 0x110000),
)  # fmt: skip
MARKS = [chr(code) for code in range(0x110000) if unicodedata.combining(chr(code))]
COMPOSED = [
    chr(code)
    for code in (*range(0xD800), *range(0xE000, 0x110000))
    if unicodedata.decomposition(chr(code)) and "<" not in unicodedata.decomposition(chr(code))
]
WORDS = (
    "the",
    "The",
    "token",
    "ization",
    "Donaudampfschiff",
    "Kennwort",
    "https://example.org/a?b=1",
    "foo_bar",
    "3.14",
    "don't",
    "x" * 40,
)


def mixture(rng: random.Random, added: tuple[str, ...] = ()) -> bytes:
    """A text of up to about 100 characters; one in twenty is not UTF-8."""
    ranges = rng.choices(SCRIPTS, k=2)

    def word() -> str:
        return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randint(1, 8)))

    def marked() -> str:
        return rng.choice(COMPOSED + list("aeiouszAO")) + "".join(rng.choice(MARKS) for _ in range(rng.randint(0, 4)))

    def decomposed() -> str:
        return unicodedata.normalize("NFD", rng.choice(COMPOSED))

    sources: tuple[tuple[int, Callable[[], str]], ...] = (
        (20, word),
        (20, lambda: rng.choice(SPACES)),
        (8, lambda: rng.choice(WORDS)),
        (8, lambda: rng.choice(APOSTROPHES)),
        (8, marked),
        (4, decomposed),
        (4, lambda: rng.choice(EMOJI)),
        (4, lambda: rng.choice(INDIC)),
        (4, lambda: rng.choice(THAI)),
        (4, lambda: rng.choice(KANA)),
        (5, lambda: "".join(rng.choices(JAMO, k=rng.randint(1, 3)))),
        (3, lambda: rng.choice(CONTROLS)),
        (8 if added else 0, lambda: rng.choice(added)),
    )
    weights, makers = zip(*sources, strict=True)
    parts = [make().encode("utf-8", "replace") for make in rng.choices(makers, weights, k=rng.randint(1, 16))]
    if rng.random() < 0.05:
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(INVALID))
    return b"".join(parts)
