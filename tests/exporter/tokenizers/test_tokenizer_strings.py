"""Ids and byte offsets equal the reference's on strings made to differ: marks in any order, added tokens, controls."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path

import pytest
from rawbert.exporter.recipe import TokenizerOptions
from strings import ADDED, SETTINGS, Case, case, differences, random_string


def check(each: Case, tokenizer_of, count: int, seed: int, *, plain: bool = False) -> None:
    each.reference.encode_special_tokens = plain
    tokenizer = tokenizer_of(each.rules, 10**6, TokenizerOptions(plain_text_special_tokens=plain))
    rng = random.Random(seed)
    wrong = differences(each.reference, tokenizer, [random_string(rng, each.added) for _ in range(count)])
    assert not wrong, f"{len(wrong)} of {count} differ, so {min(wrong, key=len)}"


@pytest.mark.parametrize(("settings", "added"), [("uncased", "flags"), ("accents kept", "special"), ("raw", "none")])
def test_random_strings(tokenizer_of, settings: str, added: str):
    check(case(settings, added), tokenizer_of, 1500, 1)


def test_random_strings_where_special_tokens_are_plain_text(tokenizer_of):
    check(case("uncased", "flags"), tokenizer_of, 1500, 2, plain=True)


def test_random_strings_with_trimmed_offsets(tokenizer_of):
    check(case("uncased", "strips", trim=True), tokenizer_of, 1500, 4)


@pytest.mark.slow
@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize("settings", SETTINGS)
def test_many_random_strings(tokenizer_of, settings: str, added: str):
    for plain in (False, True):
        check(case(settings, added), tokenizer_of, 12_000, 3, plain=plain)


@pytest.fixture(scope="module")
def uncased(tokenizer_of) -> tuple:
    each = case("uncased", "flags")
    each.reference.encode_special_tokens = False
    return each.reference, tokenizer_of(each.rules, 10**6, TokenizerOptions())


@pytest.mark.parametrize(
    "text",
    [
        "a\u302e\U0001d165",  # two marks that change places and stay
        "a\U0001d16d\U0001d165\u0301",
        "é\u302f\u0323",  # a decomposition's own mark goes behind a lower one
        "\u0301\u302f",  # marks without a letter
        "a\u302e\x00\U0001d165",  # what the clean-up removes parts no marks
        "a\u302e\ufe0f\U0001d165",  # what is removed later does
        "a\u302e[SEP]\U0001d165",
        "\U0001e000\u302e \U0001d165 \u302e",
        "ཱྀ\u302f",
        "word wordy word",
        "words word-word _word word_",
        "  [MASK]  [MASK] a",
        "<r>  <r>  <lr>  <r> x",
        "<r>   <lr>",
        "NÖRM nör NO\u0308R, nörd",
        "中x x中x 中X  x",
        "two\twords Two  words two\u00a0words",
        "ab ab  abab",
        "éé é é",
    ],
)
def test_strings_by_hand(uncased, text: str):
    assert differences(*uncased, [text]) == []
    assert differences(*uncased, ["plain", text, text[::-1]]) == []


def installed_text() -> list[str]:
    """Real text in many languages that installed packages carry: translations and documentation."""
    lines: set[str] = set()
    for package, pattern in (("click", "**/*.py"), ("numpy", "**/*.py"), ("rich", "**/*.py"), ("pip", "**/*.py")):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for path in sorted(Path(spec.origin).parent.glob(pattern)):
            lines.update(path.read_text(encoding="utf-8", errors="replace").splitlines())
    return sorted(lines)


@pytest.mark.slow
def test_text_of_installed_packages(uncased):
    texts = installed_text()
    assert len(texts) > 50_000
    assert sum(not text.isascii() for text in texts) > 1000
    wrong = differences(*uncased, texts)
    assert not wrong, f"{len(wrong)} of {len(texts)} differ, so {min(wrong, key=len)}"


@pytest.mark.parametrize(
    ("flags", "space"),
    [({"normalized": True, "lstrip": True}, False), ({"content": " <x>"}, False), ({}, True)],
    ids=["strips normalised text", "begins with a space", "a space is added before texts"],
)
def test_offsets_that_cannot_be_trimmed_alike_are_refused(tmp_path: Path, flags: dict, space: bool):
    from folders import tiny
    from rawbert.exporter import UnsupportedModel
    from rawbert.exporter.sources.wordpiece import _trims_offsets
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny(tmp_path / "model"))
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    plain = {"content": "<x>", "normalized": False, "lstrip": False, "rstrip": False}
    state["added_tokens"].append(plain | flags)
    state["post_processor"] = {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": space}
    with pytest.raises(UnsupportedModel, match=r"RobertaProcessing moves offsets \(trim_offsets\)"):
        _trims_offsets(state, {"lowercase": True}, tokenizer.backend_tokenizer, tmp_path)
    state["post_processor"]["trim_offsets"] = False
    assert not _trims_offsets(state, {"lowercase": True}, tokenizer.backend_tokenizer, tmp_path)
