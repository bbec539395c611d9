"""Byte-level BPE in the graph, on a small vocabulary whose ids can be checked by hand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from bpe import letters, pair_of, rules_of, small, variant
from mixtures import mixture

#: What every setting is tried with.
TEXTS = (
    "", " ", "the cat", " the  cat\n\n sat's 'tis 'LL we've'", "aaaaaaaaa aaaa", "            x   ", "in the thing 123",
    "é e\u0301 中 中国", "naïve café — “x”", "\u1100\u1161\u11a8 각 \uac00\u11a8", "\u0344 \u0f73\u0f74 s\u0323\u0307",
    "s\u0307\u0323", "a<mask>b  <mask> <mask>", "x </s><s> <pad>", "  word  wordy a b", "<<<mask>>>", "the" * 40,
    "\x00\u0085\u3000 \x1c\ufeff",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bpe")


@pytest.fixture(scope="module")
def tokenizer(tokenizer_of, folder: Path):
    return tokenizer_of(rules_of(small(), folder), 64)


def of(*tokens: str) -> list[int]:
    """Ids of the small vocabulary's tokens, by their places in the list."""
    vocab = small()["model"]["vocab"]
    return [vocab[token] for token in tokens]


def test_ids_of_the_small_vocabulary_are_known():
    assert of("<s>", "!", "a", "Ġ", "Ġt", "<mask>") == [0, 4, 68, 224, 260, 286]
    assert len(set(letters())) == 256


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("the cat", ["t", "he", "Ġcat"]),
        (" the cat", ["Ġthe", "Ġcat"]),
        ("sat sat", ["sat", "Ġsat"]),
        ("cher teacher's", ["c", "he", "r", "Ġt", "e", "a", "c", "he", "r", "'s"]),  # "he" comes before "er"
        ("é é", ["Ã©", "ĠÃ©"]),
        ("中", ["ä¸Ń"]),
        ("丐", ["ä¸", "Ĳ"]),
        ("aaaaaaa", ["aaaa", "aa", "a"]),
        ("a    b", ["a", "ĠĠ", "Ġ", "Ġ", "b"]),
        ("a   ", ["a", "ĠĠ", "Ġ"]),
        ("312\t12", ["3", "12", "ĉ", "12"]),
        ("thing", ["th", "ing"]),
        ("a  <mask> b", ["a", "<mask>", "Ġ", "b"]),
    ],
)
def test_ids_by_hand(tokenizer, text: str, tokens: list[str]):
    assert run_ids(tokenizer, text) == of("<s>", *tokens, "</s>")


def run(tokenizer, texts: list[str | bytes]) -> list[tuple]:
    """Ids, starts and limits without padding, and the token count, of each text, all in one call."""
    import tensorflow as tf

    raw = [text if isinstance(text, bytes) else text.encode() for text in texts]
    out = [value.numpy() for value in tokenizer(tf.constant(raw))[:5]]
    return [
        (*(each[:count].tolist() for each in (ids, starts, limits)), int(total))
        for ids, count, starts, limits, total in zip(out[0], out[1].sum(1), *out[2:], strict=True)
    ]


def run_ids(tokenizer, text: str) -> list[int]:
    ids: list[int] = run(tokenizer, [text])[0][0]
    return ids


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("the cat", [(0, 1), (1, 3), (4, 7)]),  # RoBERTa leaves out the blank
        ("丐é", [(0, 3), (0, 3), (3, 5)]),  # both parts of a character have its place
        ("a  <mask> b", [(0, 1), (3, 9), (10, 10), (10, 11)]),
    ],
)
def test_offsets_by_hand_are_bytes_of_the_callers_text(tokenizer, text: str, spans: list[tuple[int, int]]):
    _, starts, limits, _ = run(tokenizer, [text])[0]
    assert list(zip(starts, limits, strict=True)) == [(-1, -1), *spans, (-1, -1)]


VARIANTS = ("plain", "nfc", "blank", "flags and blank", "post", "one word", "split whole", "unknown", "flags")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_setting_gives_what_the_library_gives(tokenizer_of, folder: Path, name: str):
    state = variant(name)
    pair = pair_of(state, tokenizer_of, folder)
    rng = random.Random(name)
    tokens = tuple(token["content"] for token in state["added_tokens"])
    texts = [*(text.encode() for text in TEXTS), *(mixture(rng, tokens) for _ in range(400))]
    wrong = pair.differences(texts)
    assert not wrong, f"{len(wrong)} differ, so {min(wrong, key=len)}"


def test_special_tokens_may_be_plain_text(tokenizer_of, folder: Path):
    pair = pair_of(variant("flags"), tokenizer_of, folder, plain=True)
    assert pair.differences([text.encode() for text in TEXTS]) == []


def test_hostile_texts(tokenizer_of, folder: Path):
    rng = random.Random(3)
    texts = [
        "".join(rng.choices("abcehinrst", k=30_000)),
        " " * 10_000,
        " " * 10_001 + "x",
        "a" * 10_001,
        "aab" * 3000 + "a" * 101,
        "<mask>" * 50,
        "\u0301" * 500,
    ]
    assert pair_of(small(), tokenizer_of, folder).differences([text.encode() for text in texts], 2) == []


def test_texts_in_one_batch_give_what_each_gives_alone(tokenizer):
    texts = [*TEXTS, b"\xff the", b"\xe4\xb8 \xf0\x9f"]
    alone = [run(tokenizer, [text])[0] for text in texts]
    assert run(tokenizer, texts) == alone
    assert run(tokenizer, texts[::-1]) == alone[::-1]
