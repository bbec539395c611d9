"""Unigram in the graph: ids that can be checked by hand, and the reference's on strings that tokenizers disagree on."""

from __future__ import annotations

import functools
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from strings import differences, random_string
from tokens import run
from unigrams import MAP, METASPACE, SETTINGS, Case, case, charsmap, replace, runs, state

ADDED = {
    "<s>": {"special": True},
    "<mask>": {"special": True, "lstrip": True},
    "</s>": {"special": True},
    "Wörd": {"normalized": True},
    "dog": {"normalized": True, "single_word": True, "rstrip": True},
}
#: What normalisers, clusters, words and pieces are made of.
PARTS = (
    "<mask>", "</s>", "\u2581", "the cat", "``", "'''", "aaaa", "ab", "…", "fi", "™", "क", "़", "्", "e\u0301",
    "o\u0302\u0301", "か\u3099", "\r\n", "\n", " ", "  ", "☃", "☃☃", "<unk>", "q" * 16, "dog", "abc", "\u200b",
    "\u00ad", "\ufdfa", "\ufe0f", "👍\u200d™", "\u1100\u1161\u11a8", "\u0600", "\x07", "u\u0308\u0301", "中国人",
    "Wörd", "가\u11a8", "\u0344", "\u212b", "\u0f73\u0f74", "\u1e9b\u0323", "\uac00\u11a7", "ＡＢ",
    "a\u0315\u0300\u05ae\u0300b",
)  # fmt: skip
EDGES = [
    "",
    " ",
    "   ",
    "\u2581",
    "\u2581\u2581a",
    "<mask>",
    " <mask> ",
    "<mask><s>",
    "\t a\n",
    "\u200b a",
    "\u0301a",
    "a<s> ",
]


def strings(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)

    def part() -> str:
        return rng.choice(PARTS) if rng.random() < 0.6 else random_string(rng, tuple(ADDED))[:6]

    return EDGES + ["".join(part() for _ in range(rng.randint(1, 8))) for _ in range(count)]


@functools.cache
def made(settings: str, added: bool = True) -> tuple[Case, Any]:
    from rawbert.exporter.tokenizers.tokenizer import Tokenizer

    found = case(state(settings, ADDED if added else None))
    return found, Tokenizer(found.rules, 10**6)


def ids_of(tokenizer: Any, text: str | bytes) -> tuple[list[str], list[tuple[int, int]]]:
    """Tokens and places of a text, without special tokens."""
    ((ids, starts, limits, count),) = run(tokenizer, [text])
    assert count == len(ids)
    return ids[1:-1], list(zip(starts[1:-1], limits[1:-1], strict=True))


def pieces(tokenizer: Any, rules: Any, text: str) -> list[str | None]:
    return [rules.vocab[at] for at in ids_of(tokenizer, text)[0]]


def test_the_best_path_counts():
    found, tokenizer = made("first, words")
    # -1 for the whole, -2 - 4 - 4 and -2 -3 ... for its parts.
    assert pieces(tokenizer, found.rules, "the") == ["\u2581the"]
    assert pieces(tokenizer, found.rules, "the cats cat") == ["\u2581the", "c", "at", "s", "c", "at"]
    # A piece whose parts are better: -40, and -2 - 3 - 3 - 3.
    assert pieces(tokenizer, found.rules, "doge") == ["\u2581", "d", "o", "g", "e"]


def test_of_equal_paths_the_last_piece_that_begins_first_counts():
    found, tokenizer = made("first, words")
    # abc and ab + c are -7.5, a + bc is -9.
    assert pieces(tokenizer, found.rules, "the abc aabc") == ["\u2581the", "abc", "a", "abc"]


@pytest.mark.parametrize("text", ["", "the", "the the", "☃", " ", "<mask>", "<mask> a"])
def test_a_text_alone_has_its_tokens(text: str):
    found, tokenizer = made("first, words")
    assert not differences(found.reference, tokenizer, [text])


def test_no_text_has_no_tokens():
    assert run(made("first, words")[1], []) == []


def test_unknown_characters_are_one_token_in_a_word():
    found, tokenizer = made("first, words")
    assert ids_of(tokenizer, "☃☃ ☃a☃") == (
        [found.rules.vocab.index("\u2581"), 3, 3, found.rules.vocab.index("a"), 3],
        [(0, 3), (0, 6), (7, 10), (10, 11), (11, 14)],
    )


def test_places_are_bytes_of_the_text_as_it_was_sent():
    _, tokenizer = made("E5")
    # Two bytes of é; U+200B, which is removed, has three; the second blank becomes the mark of the last word.
    assert ids_of(tokenizer, "é the\u200b  cat")[1][-2:] == [(2, 6), (10, 14)]
    assert ids_of(tokenizer, b"\xff the")[1][-1] == (1, 5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_text_of_white_space_is_stripped_whatever_texts_are_before_it(count: int):
    import tensorflow as tf
    from rawbert.exporter.tokenizers.unigram.normalize import Strip
    from rawbert.exporter.tokenizers.unigram.spec import Step

    strip = Strip(Step("Strip", '{"type":"Strip","strip_left":false,"strip_right":true}'))
    piece = tf.range(count)
    codes = tf.constant([ord("a")] * (count - 1) + [ord(" ")])
    assert strip(codes, piece, piece < 0)[1].numpy().tolist() == list(range(count - 1))


CASES = ("E5", "first, words")


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in SETTINGS if name not in CASES]


@pytest.mark.parametrize("settings", [*CASES, *SLOW])
def test_every_string_has_the_tokens_of_the_reference(settings: str):
    found, tokenizer = made(settings)
    wrong = differences(found.reference, tokenizer, strings(1000 if settings in CASES else 20_000, 1))
    assert not wrong, "\n".join(wrong[:5])


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_two_texts_together_have_the_tokens_of_the_reference(settings: str):
    found, tokenizer = made(settings)
    texts = [*EDGES, " \t\r\n ", "a b "]
    wrong = [
        each for pair in itertools.product(texts, texts) for each in differences(found.reference, tokenizer, [*pair])
    ]
    assert not wrong, "\n".join(wrong[:5])


@pytest.mark.parametrize("settings", ["first, words", pytest.param("one word", marks=pytest.mark.slow)])
def test_words_of_several_blocks_have_the_tokens_of_the_reference(settings: str, monkeypatch: pytest.MonkeyPatch):
    from rawbert.exporter.tokenizers.unigram import segment

    monkeypatch.setattr(segment, "_BLOCK", 2)
    found, tokenizer = made.__wrapped__(settings)  # a graph of its own, which is built with this number
    wrong = differences(found.reference, tokenizer, [*strings(300, 2), "abc" * 100, "aabc" * 99 + "\u2603" * 99])
    assert not wrong, "\n".join(wrong[:5])


HOSTILE = {
    "a long word": "abcde" * 20_000,
    "a long word of one letter": "a" * 100_000,
    "a long unknown": "\u2603" * 30_000,
    "combining marks": "e" + "\u0301" * 10_000,
    "marks of all classes": "a" + "\u0315\u0300\u05ae\u0323" * 2_500,
    "blanks": " " * 50_000,
    "marks of words": "\u2581" * 20_000,
    "added tokens": "<mask>" * 2_000 + " </s>" * 2_000,
    "jamo": "\u1100\u1161\u11a8" * 3_000,
    "nothing": "\u200b" * 10_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["XLM-R", "ALBERT", "tokenizers' own", "one word"])
def test_hostile_texts_have_the_tokens_of_the_reference(settings: str):
    found, tokenizer = made(settings)
    for name, text in HOSTILE.items():
        assert not differences(found.reference, tokenizer, ["a", text, ""]), name


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a regular expression": ({"normalizer": runs("[ab]+", "c")}, r"replaces the regular expression '\[ab\]\+'"),
    "a text that overlaps itself": ({"normalizer": replace("aba", "c")}, "'aba', which can overlap itself"),
    "an empty text": ({"normalizer": replace("", "c")}, "an empty text"),
    "another normaliser": ({"normalizer": {"type": "ByteLevel"}}, "normalizer has ByteLevel"),
    "another pre-tokeniser": ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, METASPACE]}}, "pre-tokenizer has Digits"),
    "jamo in a map": ({"normalizer": charsmap({"\u1161": "a"})}, "combines with the character before it"),
    "no unknown": ({"model": {"unk_id": None}}, "no unk_id"),
    "bytes that are missing": ({"model": {"byte_fallback": True}}, "has no <0x00>"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exact_is_refused_by_name(name: str):
    from rawbert.exporter.errors import SourceError

    changes, message = REFUSED[name]
    broken = state("first, words")
    for part, change in changes.items():
        broken[part] = {**broken[part], **change} if part == "model" else change
    with pytest.raises(SourceError, match=message):
        case(broken)


def test_a_damaged_map_is_refused(tmp_path: Path):
    from rawbert.exporter import CorruptSource
    from rawbert.exporter.sources.tokenizer_files import read_folder

    broken = state("first, words")
    broken["normalizer"] = {**MAP, "precompiled_charsmap": MAP["precompiled_charsmap"][:64]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(broken), encoding="utf-8")
    with pytest.raises(CorruptSource, match=r"tokenizer\.json: not readable as a tokenizer"):
        read_folder(tmp_path)


def test_of_two_equal_pieces_the_last_one_counts():
    from rawbert.exporter.tokenizers.tokenizer import Tokenizer

    twice = state("first, words")
    twice["model"]["vocab"].append(["\u2581the", -0.5])
    found = case(twice)
    assert found.rules.vocab.index("\u2581the") == len(found.rules.vocab) - 1
    assert not differences(found.reference, Tokenizer(found.rules, 10**6), ["the cat", "then"])


def test_lengths_for_taggers_are_the_unknown_tokens_alone():
    found, _ = made("first, words")
    assert {at for at, length in enumerate(found.rules.token_lengths) if length == 0} == {3}
    assert set(found.rules.token_lengths) == {0, -1}
