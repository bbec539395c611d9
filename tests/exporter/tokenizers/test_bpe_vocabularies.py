"""RoBERTa's and ModernBERT's own vocabularies: every code point, generated mixtures and real text, no difference.

``RAWBERT_SHARD=3/8`` takes the third of eight parts of the texts.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from typing import Any

import bpe
import pytest
from mixtures import mixture

pytestmark = pytest.mark.slow

CONTEXTS = ("{}", "a{}", "{}a", "x {}'s 1{}")
MIXTURES = 300_000


@pytest.fixture(scope="module", params=["roberta", "modernbert"])
def pair(request: pytest.FixtureRequest, tokenizer_of, tmp_path_factory: pytest.TempPathFactory) -> bpe.Pair:
    state = getattr(bpe, request.param)()
    return bpe.pair_of(state, tokenizer_of, tmp_path_factory.mktemp(request.param))


def shard(texts: Iterator[bytes]) -> list[bytes]:
    which, _, of = os.environ.get("RAWBERT_SHARD", "1/1").partition("/")
    return [text for at, text in enumerate(texts) if at % int(of) == int(which) - 1]


def hold(pair: bpe.Pair, texts: list[bytes]) -> None:
    began = time.monotonic()
    wrong = pair.differences(texts)
    print(f"{len(wrong)} of {len(texts)} texts differ ({time.monotonic() - began:.0f} s)")
    assert not wrong, f"{len(wrong)} of {len(texts)} differ, so {min(wrong, key=len)}"


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_code_point(pair: bpe.Pair, context: str):
    codes = (*range(0xD800), *range(0xE000, 0x110000))
    hold(pair, shard(context.format(*[chr(code)] * 2).encode() for code in codes))


def test_generated_mixtures(pair: bpe.Pair):
    rng = random.Random(31)
    added = ("<mask>", "<s>", "[MASK]", "|||IP_ADDRESS|||", "   ", "[SEP]")
    hold(pair, shard(mixture(rng, added) for _ in range(MIXTURES)))


def test_translations(pair: bpe.Pair):
    texts = bpe.translations()
    assert len(texts) > 50_000
    hold(pair, shard(text.encode() for text in texts))


def test_long_texts_without_blanks(pair: bpe.Pair):
    rng = random.Random(5)
    alphabets = ("abcdefghijklmnopqrstuvwxyz", "ABCdef0123+/", "中国的人是", "अकखग्िी")
    texts = ["".join(rng.choices(letters, k=100_000)) for letters in alphabets]
    texts += [" " * 10_000, "\n" * 9_999, "a" * 10_001, "=" * 10_000, "ab" * 5_000 + "b" * 5_001, "é" * 10_000]
    began = time.monotonic()
    wrong = pair.differences([text.encode() for text in texts], 1)
    assert not wrong, f"{len(wrong)} differ, so {min(wrong, key=len)[:200]}"
    assert time.monotonic() - began < 60


def random_merges(rng: random.Random) -> tuple[str, ...]:
    """Merges in the order of training, of tokens made before, often several ways to one token."""
    tokens, merges = list("abcd"), []
    for _ in range(rng.randint(3, 40)):
        one, other = rng.choice(tokens), rng.choice(tokens)
        made = one + other
        used = {part for merge in merges for part in merge.split()}
        if len(made) <= 9 and made not in used and f"{one} {other}" not in merges:
            merges.append(f"{one} {other}")
            tokens.append(made)
    return tuple(merges)


def test_random_merges(tokenizer_of, tmp_path: Any):
    rng = random.Random(8)
    for number in range(40):
        state = bpe.small(random_merges(rng))
        tokens = dict.fromkeys(state["model"]["vocab"])
        state["model"]["vocab"] = {token: at for at, token in enumerate(tokens)}
        state["added_tokens"] = state["added_tokens"][:4]
        each = bpe.pair_of(state, tokenizer_of, tmp_path / str(number))
        texts = ["".join(rng.choices("abcd", k=rng.randint(1, 60))).encode() for _ in range(2000)]
        wrong = each.differences(texts)
        assert not wrong, f"{state['model']['merges']}: {min(wrong, key=len)}"
