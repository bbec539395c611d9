"""Texts that every export is verified on: ordinary, long, empty, and those that tokenizers disagree on."""

from __future__ import annotations

__all__ = ["TEXTS", "over_long"]

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
    "[CLS] literal [SEP]special[MASK] [UNK] [PAD] tokens [sep]",
    "a" * 100 + " " + "b" * 101 + " " + "é" * 101,
    "Readers who reach the middle of a somewhat longer paragraph, one that has several clauses and a list of "
    "things (apples, pears, and quinces), should find that nothing changes: every token counts once, in order, "
    "and the vector that comes back is the one that the model's own library would have made of the same words.",
)


def over_long(max_seq_length: int) -> str:
    """A text of more tokens than ``max_seq_length``, whatever the vocabulary."""
    return "one two three four, five. " * (max_seq_length // 4 + 1)
