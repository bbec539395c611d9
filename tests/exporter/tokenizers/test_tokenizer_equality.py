"""The tokenizer in the graph gives the ids, byte offsets and counts of transformers' tokenizer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from folders import edit, tiny
from rawbert.exporter.proof import samples
from tokens import Pair, reference_of


@pytest.fixture(scope="session")
def minilm(minilm_folder: Path, tokenizer_of) -> Pair:
    from rawbert.exporter.sources.tokenizer_files import read_folder

    rules, *_ = read_folder(minilm_folder)
    return Pair(tokenizer_of(rules, 10**6), reference_of(minilm_folder))


@pytest.fixture(scope="session")
def cased(tmp_path_factory: pytest.TempPathFactory, tokenizer_of) -> Pair:
    """tiny_bert's vocabulary under rules that leave case, accents and Chinese characters alone."""
    from rawbert.exporter.sources.tokenizer_files import read_folder

    folder = tiny(tmp_path_factory.mktemp("cased") / "model")
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    settings = {"lowercase": False, "strip_accents": False, "handle_chinese_chars": False}
    edit(folder / "tokenizer.json", normalizer={**state["normalizer"], **settings})
    edit(
        folder / "tokenizer_config.json",
        **{"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False},
    )
    rules, *_ = read_folder(folder)
    assert (rules.lowercase, rules.strip_accents, rules.handle_chinese_chars) == (False, False, False)
    return Pair(tokenizer_of(rules, 10**6), reference_of(folder))


@pytest.fixture(params=["minilm", "cased"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return request.getfixturevalue(request.param)


def corpus(data: Path) -> list[str]:
    cases = json.loads((data / "minilm_golden.json").read_text(encoding="utf-8"))["cases"]
    return [case["text"] for case in cases] + [*samples.TEXTS, "one two three four, five. " * 76]


#: Where random texts take their characters: ranges of code points, and whole pieces.
ALPHABETS = {
    "ascii": [(0x20, 0x7F)],
    "ascii and controls": [(0, 0x80)],
    "latin": [(0x41, 0x5B), (0xA0, 0x250), (0x1E00, 0x1F00)],
    "greek and cyrillic": [(0x370, 0x530), (0x1F00, 0x2000)],
    "symbols": [(0x2000, 0x2C00), (0x3000, 0x3100), (0x20, 0x40)],
    "compatibility": [(0xF900, 0x10000), (0x61, 0x7B)],
    "chinese": [(0x3040, 0x3100), (0x4E00, 0x9FB0), (0x61, 0x6B)],
    "korean": [(0x1100, 0x1200), (0xAC00, 0xD7B0)],
    "indic": [(0x900, 0x1100)],
    "hebrew and arabic": [(0x590, 0x780)],
    "accents": [(0x300, 0x36F), (0x61, 0x7B), (0x41, 0x5B)],
    "emoji": [(0x1F300, 0x1FB00), (0x200B, 0x2010), (0xFE00, 0xFE10)],
    "everywhere": [(0, 0xD800), (0xE000, 0x110000)],
}
PIECES = (
    "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "[sep]", "##ing", "the", "running", " ", "  ", "\x00", "\r\n",
    "\u00a0", "\ufffd", "e\u0301", "ς", "İ", "ß", "ﬁ", "…", "中国", "z" * 99, "é" * 100, "x" * 101, "y" * 250,
)  # fmt: skip


def random_texts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        chosen = rng.sample(sorted(ALPHABETS), rng.randint(1, 2))
        ranges = [part for name in chosen for part in ALPHABETS[name]]
        parts = []
        for _ in range(rng.randint(1, 24)):
            dice = rng.random()
            if dice < 0.12:
                parts.append(rng.choice(PIECES))
            elif dice < 0.25:
                parts.append(" ")
            else:
                parts.append(chr(rng.randrange(*rng.choice(ranges))))
        texts.append("".join(parts))
    return texts


def test_every_text_of_a_corpus_is_tokenized_as_by_transformers(data: Path, pair: Pair):
    pair.check(corpus(data))


def test_random_texts_are_tokenized_as_by_transformers(pair: Pair):
    pair.check(random_texts(2500, seed=9))
