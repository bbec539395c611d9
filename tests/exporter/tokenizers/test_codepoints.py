from __future__ import annotations

import dataclasses
import unicodedata

import pytest
from rawbert.exporter.tokenizers.tables import PAGE
from rawbert.exporter.tokenizers.wordpiece import codepoints
from rawbert.exporter.tokenizers.wordpiece.behaviour import ISOLATED, SPACE, WORD
from rawbert.exporter.tokenizers.wordpiece.codepoints import MANY, SHIFT


@pytest.fixture(scope="module")
def uncased(tiny_tokenizer, checkpoint):
    return codepoints.build(checkpoint.tokenizer)


@pytest.fixture(scope="module")
def raw(checkpoint):
    rules = dataclasses.replace(
        checkpoint.tokenizer, lowercase=False, strip_accents=False, handle_chinese_chars=False, clean_text=False
    )
    return codepoints.build(rules)


def look_up(table, char: str) -> list[tuple[str, int]]:
    """What a character becomes: characters and their classes."""
    value = int(table.values.pages[table.values.page_index[ord(char) // PAGE], ord(char) % PAGE])
    entry, kind = value >> SHIFT, value & 3
    if kind != MANY:
        return [(chr(ord(char) + entry), kind)]
    row = table.many[table.many_splits[entry] : table.many_splits[entry + 1]]
    return [(chr(each >> SHIFT), int(each & 3)) for each in row]


@pytest.mark.parametrize(
    ("char", "becomes"),
    [
        ("a", [("a", WORD)]),
        ("A", [("a", WORD)]),
        ("É", [("e", WORD)]),
        ("ß", [("ß", WORD)]),
        ("ﬁ", [("ﬁ", WORD)]),  # no compatibility mapping
        ("Σ", [("σ", WORD)]),
        ("İ", [("i", WORD)]),
        ("\u0301", []),
        ("\u00ad", []),
        ("\x00", []),
        ("\ufffd", []),
        ("\n", [(" ", SPACE)]),
        ("\u00a0", [(" ", SPACE)]),
        ("\u3000", [(" ", SPACE)]),
        ("#", [("#", ISOLATED)]),  # the table is made with this as the mark between code points
        ("$", [("$", ISOLATED)]),
        ("。", [("。", ISOLATED)]),
        ("中", [("中", ISOLATED)]),
        ("한", [("ᄒ", WORD), ("ᅡ", WORD), ("ᆫ", WORD)]),
        ("\U0010ffff", [("\U0010ffff", WORD)]),
    ],
)
def test_what_an_uncased_tokenizer_makes_of_a_character(uncased, char: str, becomes: list):
    assert look_up(uncased, char) == becomes


@pytest.mark.parametrize("char", ["A", "É", "中", "\u0301", "\x00", "\ufffd", "#", "\U0010ffff"])
def test_with_every_step_switched_off_a_character_stays(raw, char: str):
    assert [become for become, _ in look_up(raw, char)] == [char]


def test_every_scalar_value_has_an_entry(uncased):
    assert uncased.values.page_index.size * PAGE == 0x110000
    assert uncased.values.page_index.max() == len(uncased.values.pages) - 1
    rows = uncased.values.pages[uncased.values.pages & 3 == MANY] >> SHIFT
    assert rows.min() == 0
    assert rows.max() == len(uncased.many_splits) - 2
    assert uncased.many_splits[:2].tolist() == [0, 0]


def test_the_table_is_pythons_decomposition_where_both_know_the_letter(uncased):
    """An independent view: NFD without nonspacing marks, then lower case, on Latin and Greek and Cyrillic letters."""
    for code in [*range(0xC0, 0x250), *range(0x388, 0x400), *range(0x400, 0x500), *range(0x1E00, 0x1F00)]:
        char = chr(code)
        if not char.isalpha():
            continue
        kept = "".join(c for c in unicodedata.normalize("NFD", char) if unicodedata.category(c) != "Mn")
        # One by one: str.lower knows a final sigma.
        wanted = "".join(c.lower() for c in kept)
        assert "".join(c for c, _ in look_up(uncased, char)) == wanted, hex(code)
