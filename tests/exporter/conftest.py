"""Fixtures of the exporter's tests. Tokenizer tables take seconds to make, so each is made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def checkpoint(data: Path):
    """tiny_bert as the neutral description."""
    from rawbert.exporter import sources

    return sources.load(data / "tiny_bert")


@pytest.fixture(scope="session", autouse=True)
def _tables_are_made_once():
    """A code point table depends on four settings alone, and takes seconds."""
    from rawbert.exporter.tokenizers.wordpiece import codepoints

    made: dict[tuple, Any] = {}
    build = codepoints.build

    def build_once(rules):
        key = (rules.lowercase, rules.strip_accents, rules.handle_chinese_chars, rules.clean_text)
        key += (
            rules.style,
            any(token.normalized for token in rules.added_tokens),
        )
        if key not in made:
            made[key] = build(rules)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codepoints, "build", build_once)
        yield


@pytest.fixture(scope="session")
def tokenizer_of() -> Callable[..., Any]:
    """(rules, max_seq_length) -> the graph's tokenizer, one for all that share the rules."""
    from rawbert.exporter.tokenizers.tokenizer import Tokenizer

    return cache(Tokenizer)


@pytest.fixture(scope="session")
def tiny_tokenizer(checkpoint, tokenizer_of):
    """The graph's tokenizer of tiny_bert, cutting at 64 tokens."""
    return tokenizer_of(checkpoint.tokenizer, 64)
