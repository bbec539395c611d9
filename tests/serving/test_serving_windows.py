"""Windows over long texts, cut with the offsets of a real WordPiece tokenizer."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from rawbert.serving.client import windows
from rawbert.serving.client.results import Tokens

WORDS = (
    "the", "president", "Johannesburg", "antidisestablishmentarianism", "don't", "U.S.A.", "中文", "国", "Αθήνα", "😀",
    "naïve", "nai\u0308ve", "한국어", "日本語の", "word😀", "e-mail@example.com", "1,234.56", "ﬁne", "...", "[SEP]",
    "हिन्दी", "a\x00b", "x\u2028y", "x\x85y", "«quoted»", "३४", "ไทย", "\u00adsoft\u00ad",
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(minilm_folder: Any) -> Any:
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(minilm_folder)
    made.model_max_length = 10**9
    return made


def text_of(seed: int, space: float = 0.7) -> str:
    chance = random.Random(seed)
    return "".join(chance.choice(WORDS) + " " * (chance.random() < space) for _ in range(chance.randint(30, 150)))


def ids(tokenizer: Any, text: bytes) -> list[int]:
    found: list[int] = tokenizer(text.decode(), add_special_tokens=False).input_ids
    return found


def starts_of(tokenizer: Any, text: str) -> list[int]:
    """The first byte of each token."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    before = np.cumsum([0, *(len(char.encode()) for char in text)])
    return [int(before[start]) for start, _ in offsets]


@pytest.mark.parametrize("space", [0.9, 0.6])
@pytest.mark.parametrize(("most", "stride"), [(60, 0), (60, 10), (50, 3), (80, 39)])
def test_the_tokens_of_windows_are_those_of_the_text(tokenizer: Any, most: int, stride: int, space: float) -> None:
    for seed in range(25):
        text = text_of(seed, space)
        encoded, every = text.encode(), ids(tokenizer, text.encode())
        starts = starts_of(tokenizer, text)
        found = windows.windows(encoded, starts, most, stride)
        end = 0
        for at, ((start, limit), count) in enumerate(found):
            first = starts.index(start)
            assert ids(tokenizer, encoded[start:limit]) == every[first : first + count], (text, start, limit)
            assert count <= most
            assert first + min(stride, end) <= end  # They share as many tokens, at least.
            assert first + count > end  # Each goes further than the one before it.
            assert at == 0 or count > stride
            end = first + count
        assert end == len(every)
        assert len(found) <= 2 * (1 + len(every) // max(most - stride, 1))


@pytest.mark.parametrize("stride", [0, 7])
def test_they_are_those_of_transformers_where_each_token_is_a_word(tokenizer: Any, stride: int) -> None:
    text = "中文国人 the of and, to! " * 30
    starts, most = starts_of(tokenizer, text), 50
    said = tokenizer(
        text, max_length=most, truncation=True, stride=stride, add_special_tokens=False,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    before = np.cumsum([0, *(len(char.encode()) for char in text)])
    theirs = [(int(before[each[0][0]]), len(each)) for each in said.offset_mapping]
    assert [(start, count) for (start, _), count in windows.windows(text.encode(), starts, most, stride)] == theirs


def test_parts_have_the_tokens_of_the_whole(tokenizer: Any) -> None:
    for seed in range(50):
        text = text_of(seed).encode()
        count = len(ids(tokenizer, text))
        room = 40
        cut = Tokens(np.zeros(room + 2), np.array([-1, *range(room), -1]), np.zeros(room + 2), count + 2)
        parts = windows.parts(text, (0, len(text)), cut)
        assert b"".join(text[start:end] for start, end in parts) == text
        assert [each for start, end in parts for each in ids(tokenizer, text[start:end])] == ids(tokenizer, text)
        assert len(parts) <= 3 * count / room


def test_a_text_that_no_word_begins_in_is_cut_between_characters() -> None:
    cut = Tokens(np.zeros(4), np.array([-1, 0, 1, -1]), np.zeros(4), 10)
    for text in ("é" * 9, "👍" * 3, "a" * 7):
        encoded = text.encode()
        parts = windows.parts(encoded, (0, len(encoded)), cut)
        assert len(parts) > 1
        assert "".join(encoded[start:end].decode() for start, end in parts) == text
    assert windows.parts("👍".encode(), (0, 4), cut) == [(0, 4)]
    assert b"".join(b"\x80"[start:end] for start, end in windows.parts(b"\x80" * 1, (0, 1), cut)) == b"\x80"
