"""Texts that every export is verified on: ordinary, long, empty, and those that tokenizers disagree on."""

from __future__ import annotations

__all__ = ["TEXTS", "over_long", "pairs", "singles"]

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "How do I reset my password?",
    "TensorFlow Serving answers over gRPC, and the client sends plain strings.",
    "",
    " \t\r\n ",
    "a",
    "Don't stop -- it's 3.14159 (approximately), isn't it?!",
    "user.name+tag@example.com https://example.com/path?query=1&other=%20#top",
    "def f(x): return x**2 if x >= 0 else -x  # comment",
    "café naïve Ångström e\u0301 straße ŁÓDŹ İstanbul",
    "ΟΔΥΣΣΕΥΣ και σοφός",
    "Съешь ещё этих мягких французских булок",
    "中文字符和 English 混排，全角标点。",
    "日本語のテキスト、カタカナ。 한국어 텍스트",
    "नमस्ते दुनिया สวัสดี مرحبا שלום",
    "… ™ ½ ² ﬁ ① Ａ１ ㈚ ‑ “quotes” « » €",
    "👩‍👩‍👧 🏳️‍🌈 emoji and zero\u200bwidth\u00adsoft",
    "control\x00 \x01\x0b\x1f\x7f\ufffd characters",
    "a\u302e\U0001d165 \u1b44\u0323\u0301x \u0345\u0334 é\u302f\u0323",  # marks that change places
    "\u0644\u064e\u0651 \u05e9\u05bc\u05c1 \u0e33 \u1100\u1161\u11a8 \u0344 \u2126\u212b \ufb1f \ufdfa",
    "x\u00a0y\u2028z\u3000w\u1680v\u180eu\u205ft\ufeffs\u2060r\u200dq\ufe0fp",
    "ÀÉÎÕÜ ǅ ẞ ﬀ ſ K Ω ΐ ᾳ Ⅷ Ⓐ 𝐀 𝔘 ı ĸ ŉ ǰ",
    "¡¿§¶†‡•‰′″‹›‽⁂⸮。、「」！？〜・ ՝ ׃ ؟ ॥ ๛ ᠃ ₪ ∑ ⌘ ■ ☃ ♥",
    "[CLS] literal [SEP]special[MASK] [UNK] [PAD] tokens [sep]",
    "a" * 100 + " " + "b" * 101 + " " + "é" * 101,
    "Readers who reach the middle of a somewhat longer paragraph, one that has several clauses and a list of "
    "things (apples, pears, and quinces), should find that nothing changes: every token counts once, in order, "
    "and the vector that comes back is the one that the model's own library would have made of the same words.",
)

#: Bytes that are no UTF-8: Latin-1, byte order marks, characters cut short, surrogates, over-long forms.
BYTES = (b"caf\xe9 \xff\xfe \xc3 \xe4\xb8 \xf0\x9f\x98 \xed\xa0\x80 \xc0\x80 \xf4\x90\x80\x80 end\xe2\x82",)


def over_long(max_seq_length: int) -> str:
    """A text of more tokens than ``max_seq_length``, whatever the vocabulary."""
    return "one two three four, five. " * (max_seq_length // 4 + 1)


def singles(longest: str) -> list[tuple[str | bytes, ...]]:
    """What an export for single texts is verified on."""
    return [(text,) for text in (*TEXTS, *BYTES, longest)]


def pairs(longest: str) -> list[tuple[str | bytes, ...]]:
    """What an export for pairs is verified on."""
    texts: tuple[str | bytes, ...] = (*TEXTS, *BYTES)
    mixed: list[tuple[str | bytes, ...]] = [(text, texts[(5 * at + 3) % len(texts)]) for at, text in enumerate(texts)]
    return [*mixed, (longest, TEXTS[1]), (TEXTS[1], longest), (longest, longest)]
