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


@pytest.fixture(scope="session")
def tokenizer_of() -> Callable[..., Any]:
    """(rules, max_seq_length) -> the graph's tokenizer, one for all that share the rules."""
    from rawbert.exporter.tokenizer import Tokenizer

    return cache(Tokenizer)


@pytest.fixture(scope="session")
def tiny_tokenizer(checkpoint, tokenizer_of):
    """The graph's tokenizer of tiny_bert, cutting at 64 tokens."""
    return tokenizer_of(checkpoint.tokenizer, 64)
