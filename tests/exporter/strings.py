"""Difficult strings for tokenizers, and tokenizers with every setting.

The vocabulary contains most characters as single tokens, so that ids show the normalised text.
"""

from __future__ import annotations

import functools
import json
import random
import unicodedata
from dataclasses import dataclass
from typing import Any

from folders import DATA

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SETTINGS: dict[str, dict[str, Any]] = {
    "uncased": {"lowercase": True},
    "cased": {"lowercase": False},
    "accents kept": {"lowercase": True, "strip_accents": False, "handle_chinese_chars": False},
    "cased without accents": {"lowercase": False, "strip_accents": True},
    "raw": {"lowercase": False, "clean_text": False, "handle_chinese_chars": False},
    "not cleaned": {"lowercase": True, "clean_text": False},
}
_PLAIN_SPECIAL = {token: {"special": True, "normalized": False} for token in SPECIAL}
#: Sets of added tokens: none, BERT's own, tokens with every flag, and tokens that overlap.
ADDED: dict[str, dict[str, dict[str, bool]]] = {
    "none": {},
    "special": _PLAIN_SPECIAL,
    "flags": {
        "[SEP]": {"special": True, "normalized": False},
        "[MASK]": {"special": True, "normalized": False, "lstrip": True},
        "<r>": {"normalized": False, "rstrip": True},
        "<lr>": {"normalized": False, "lstrip": True, "rstrip": True},
        "word": {"normalized": False, "single_word": True},
        "wordy": {"normalized": False},
        "ab": {"normalized": False, "single_word": True, "lstrip": True},
        "é": {"normalized": False, "single_word": True},
        "Nörm": {"normalized": True},
        "NÖR": {"normalized": True, "single_word": True, "lstrip": True, "rstrip": True},
        "中x": {"normalized": True, "rstrip": True},
        "two words": {"normalized": True},
        "Ünï": {"normalized": True, "lstrip": True},
        "x": {"normalized": True, "single_word": True},
    },
    "strips": {
        "[SEP]": {"special": True, "normalized": False},
        "[MASK]": {"special": True, "normalized": False, "lstrip": True},
        "<r>": {"normalized": False, "rstrip": True},
        "ab": {"normalized": False, "single_word": True, "lstrip": True},
        "<lr>": {"normalized": False, "lstrip": True, "rstrip": True},
        "NÖR": {"normalized": True, "single_word": True},
    },
    "odd": {
        "[SEP]": {"special": True, "normalized": True},
        " x": {"normalized": False},
        " y": {"normalized": False, "lstrip": True},
        "q ": {"normalized": False, "rstrip": True},
        "<r>": {"normalized": False, "rstrip": True},
        "Foo": {"normalized": True},
        "FOOD": {"normalized": True, "single_word": True},
        "foo": {"normalized": False, "single_word": True},
        "foob": {"normalized": False},
        "中": {"normalized": True, "lstrip": True},
        "国人": {"normalized": True},
        "😀": {"normalized": False},
        ".": {"normalized": True, "rstrip": True},
        "##a": {"normalized": False},
        "a b": {"normalized": True, "single_word": True},
        "e\u0301": {"normalized": False},
        "\u302e\U0001d165": {"normalized": True},
    },
}


def _is_scalar(code: int) -> bool:
    return not 0xD800 <= code <= 0xDFFF


CHARACTERS = [
    chr(code)
    for spans in (
        (0x20, 0x3500), (0x4E00, 0x4E80), (0xA000, 0xAD00), (0xF900, 0x12000), (0x1D100, 0x1D200), (0x1E000, 0x1E100),
        (0x1F300, 0x1F700),
    )
    for code in range(*spans)
    if unicodedata.category(chr(code)) not in ("Cc", "Cs", "Co", "Zs")
]  # fmt: skip
MARKS = [chr(code) for code in range(0x110000) if unicodedata.combining(chr(code))]
#: Marks that are not nonspacing, or not assigned, in old versions of Unicode: normalisation moves and keeps them.
KEPT_MARKS = [mark for mark in MARKS if unicodedata.category(mark) != "Mn"] + [
    mark for mark in MARKS if 0x8D4 <= ord(mark) <= 0x8E1 or 0x1E000 <= ord(mark) <= 0x1E94A
]
COMPOSED = [
    chr(code)
    for code in range(0x110000)
    if _is_scalar(code) and unicodedata.decomposition(chr(code)) and "<" not in unicodedata.decomposition(chr(code))
]
SPACES = (
    " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2028", "\u1680", "\x0b", "\x0c", "\x85", "\x1c", "\u200b",
)  # fmt: skip
BESIDE = ("_", "1", "à", "-", "\u200d", "\u0300", "\u203f", "②", "中", ".")
CONTROLS = "\x00\x01\x02\x1f\x7f\u00ad\u200b\u200e\ufeff\ufffd\ufdd0\ue000\U0010ffff\ufe0f"
EMOJI = ("👩‍👩‍👧", "🏳️‍🌈", "👍🏽", "🇩🇪", "1️⃣", "😀")
PUNCTUATION = [char for char in CHARACTERS if unicodedata.category(char)[0] in "PS"]


def random_string(rng: random.Random, added: tuple[str, ...]) -> str:
    """A short random string, in which added tokens may directly touch other characters."""
    tokens = (*SPECIAL, "[sep]", *added, *added, *(each.upper() for each in added), *(each.lower() for each in added))
    sources = (
        (20, lambda: rng.choice(tokens)),
        (18, lambda: rng.choice(SPACES)),
        (5, lambda: rng.choice(BESIDE)),
        (11, lambda: "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 6)))),
        (11, lambda: "".join(rng.choice(KEPT_MARKS) for _ in range(rng.randint(1, 4)))),
        (8, lambda: rng.choice(COMPOSED)),
        (6, lambda: rng.choice(CONTROLS)),
        (4, lambda: rng.choice("abcxyzñ") * rng.choice((1, 3, 99, 100, 101, 102))),
        (6, lambda: rng.choice(PUNCTUATION)),
        (2, lambda: rng.choice(EMOJI)),
        (8, lambda: rng.choice(CHARACTERS)),
        (4, lambda: chr(rng.choice((rng.randrange(0x80), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000))))),
    )
    weights, makers = zip(*sources, strict=True)
    return "".join(make() for make in (maker for maker in rng.choices(makers, weights, k=rng.randint(1, 14))))


@dataclass(frozen=True)
class Case:
    """A reference tokenizer and its rules."""

    reference: Any
    rules: Any
    added: tuple[str, ...]


@functools.cache
def case(settings: str, added: str, trim: bool = False) -> Case:
    """A tokenizer with one of the :data:`SETTINGS` and one of the sets of :data:`ADDED` tokens.

    ``trim``: with RoBERTa's post-processor, which trims offsets.
    """
    from rawbert.exporter.tokenizers.spec import AddedToken, bert_template
    from rawbert.exporter.tokenizers.wordpiece.spec import WordPieceSpec
    from tokenizers import AddedToken as Added
    from tokenizers import Tokenizer

    vocab = tuple(dict.fromkeys((*SPECIAL, *CHARACTERS, *(f"##{char}" for char in CHARACTERS), "word", "the", "##ing")))
    state = json.loads((DATA / "tiny_bert" / "tokenizer.json").read_text(encoding="utf-8"))
    state["normalizer"].update({"strip_accents": None, **SETTINGS[settings]})
    state["model"]["vocab"] = {token: at for at, token in enumerate(vocab)}
    state["added_tokens"] = []
    if trim:
        state["post_processor"] = {
            "type": "RobertaProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2], "trim_offsets": True,
            "add_prefix_space": False,
        }  # fmt: skip
    reference = Tokenizer.from_str(json.dumps(state))
    for content, flags in ADDED[added].items():
        add = reference.add_special_tokens if flags.get("special") else reference.add_tokens
        add([Added(content, **flags)])
    tokens = tuple(AddedToken(**token) for token in json.loads(reference.to_str())["added_tokens"])
    rules = WordPieceSpec(vocab, 0, bert_template(2, 3), added_tokens=tokens, trim_offsets=trim, **SETTINGS[settings])
    return Case(reference, rules, tuple(ADDED[added]))


@functools.cache
def _graph(tokenizer: Any) -> Any:
    import tensorflow as tf

    return tf.function(lambda text: tokenizer(text)[:5], input_signature=[tf.TensorSpec([None], tf.string)])


def differences(reference: Any, tokenizer: Any, texts: list[str]) -> list[str]:
    """Differences between ids, byte offsets or counts of the graph and the reference."""
    import tensorflow as tf

    graph = _graph(tokenizer)
    wrong = []
    for start in range(0, len(texts), 1000):
        batch = texts[start : start + 1000]
        out = [value.numpy() for value in graph(tf.constant([text.encode() for text in batch]))]
        for text, encoding, ids, mask, begins, limits, total in zip(
            batch, reference.encode_batch(batch), *out, strict=True
        ):
            count = int(mask.sum())
            byte_at = [0]
            for char in text:
                byte_at.append(byte_at[-1] + len(char.encode()))
            spans = [(byte_at[begin], byte_at[end]) for begin, end in encoding.offsets[1:-1]]
            got = list(zip(begins[1 : count - 1].tolist(), limits[1 : count - 1].tolist(), strict=True))
            if ids[:count].tolist() != encoding.ids or got != spans or total != len(encoding.ids):
                wrong.append(f"{text!a}: {ids[:count]} at {got}, not {encoding.ids} at {spans}")
    return wrong
