"""The texts of every proof: ordinary, long, empty, and difficult for tokenizers."""

from collections.abc import Callable, Sequence
from typing import Any

#: A text, or a pair of them.
Texts = tuple[str | bytes, ...]
#: Tokens of a text or pair, see :class:`.tokens.ReferenceTokens`.
Tokenize = Callable[..., Any]

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
    "a" * 100 + " " + "b" * 101 + " " + "é" * 101,
    "Readers who reach the middle of a somewhat longer paragraph, one that has several clauses and a list of "
    "things (apples, pears, and quinces), should find that nothing changes: every token counts once, in order, "
    "and the vector that comes back is the one that the model's own library would have made of the same words.",
)

#: Special tokens; a sample is built with those in the vocabulary.
SPECIALS = ("[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "<s>", "</s>", "<mask>", "<unk>", "<pad>")

_WORDS = ["one", "two", "three", "four", ",", "five", "."]

#: Bytes that are not UTF-8: Latin-1, byte order marks, truncated characters, surrogates, over-long forms.
BYTES = (b"caf\xe9 \xff\xfe \xc3 \xe4\xb8 \xf0\x9f\x98 \xed\xa0\x80 \xc0\x80 \xf4\x90\x80\x80 end\xe2\x82",)


def chosen(tokenize: Tokenize, max_seq_length: int, pair: bool, rows: int | None = None) -> list[Texts]:
    """The samples for the proof of an export.

    Args:
        tokenize: the reference tokenizer; only its number of tokens before truncation is used.
        max_seq_length: maximum tokens of texts or pairs.
        pair: whether to return pairs.
        rows: rows of the embedding table, if known; special tokens without a row are not used.
    """
    nothing = ("",) * (1 + pair)
    special = tokenize(*nothing).count

    def of_length(tokens: int) -> str:
        """A text of ``tokens`` tokens, without special tokens, for any vocabulary."""

        def count(text: str) -> int:
            return int(tokenize(text, *nothing[1:]).count) - special

        words = _WORDS * (max(tokens, 0) // len(_WORDS) + 1)
        low, high = 0, len(words)
        while low < high:  # the largest number of words that fits
            middle = (low + high + 1) // 2
            low, high = (middle, high) if count(" ".join(words[:middle])) <= tokens else (low, middle - 1)
        text = " ".join(words[:low])
        while count(text) < tokens:
            text += " ."
        return text

    literal = [each for each in SPECIALS if rows is None or max(tokenize(each, *nothing[1:]).ids) < rows]
    own = [each for each in literal if tokenize(each, *nothing[1:]).count == special + 1]
    others = [each for each in literal if each not in own]
    # In both orders: with a short maximum length, the last special tokens would be cut from all samples.
    specials = (
        " ".join(f"{each} literal {each.lower()} x{each}y" for each in (*ordered, *others))
        for ordered in (own, own[::-1])
    )
    texts: tuple[str | bytes, ...] = (*TEXTS, *specials, *BYTES)
    room = max_seq_length - special
    most = of_length(room)
    if not pair:
        cut = [most, of_length(room + 1), of_length(room + room // 2 + 2)]
        return list(dict.fromkeys((text,) for text in (*texts, *cut)))
    mixed = [(text, texts[(5 * at + 3) % len(texts)]) for at, text in enumerate(texts)]
    # Total length at the limit, one token more, much more; with either text the longer one, or neither.
    half, rest, more = (of_length(room // 2 + each) for each in (0, room % 2, room % 2 + 1))
    cut_pairs = [(half, rest), (half, more), (more, half), (of_length(room + 1), half), (most, most)]
    cut_pairs += [(one, other) for text in (TEXTS[1], "") for one, other in ((most, text), (text, most))]
    return list(dict.fromkeys([*mixed, *cut_pairs]))


def calls(lengths: Sequence[int]) -> list[list[int]]:
    """The samples of each call: each alone, pairs of unequal length, groups of eight, and one call of 64.

    There are two kinds of groups of eight: with all lengths, and with similar lengths, which together use every
    attention group.

    Args:
        lengths: number of tokens of each sample.

    Returns:
        For each call the indices of its samples.
    """
    every = list(range(len(lengths)))
    pairs, left = [], every
    while left:
        one, *left = left
        other = next((at for at in (*left, *every) if lengths[at] != lengths[one]), one)
        left = [at for at in left if at != other]
        pairs.append([one, other])
    by_length = sorted(every, key=lambda at: lengths[at])
    eights = [_some(order, start, 8) for order in (every, by_length) for start in every[::8]]
    return [*([at] for at in every), *pairs, *eights, _some(every, 0, 64)]


def _some(order: Sequence[int], start: int, count: int) -> list[int]:
    """``count`` elements from ``start`` on, wrapping around at the end."""
    return [order[at % len(order)] for at in range(start, start + count)]
