"""The tokenizer in the graph, on tiny_bert's vocabulary: its ids can be checked by hand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tokens import CLS, MASK, SEP, UNK, reference_of, run


def ids_of(tokenizer, text: str | bytes) -> list[int]:
    ids = run(tokenizer, [text])[0][0]
    assert (ids[0], ids[-1]) == (CLS, SEP)
    return ids[1:-1]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        (" \t\r\n\u00a0\u3000", []),
        ("The cat sat on the mat.", [76, 77, 79, 80, 76, 81, 67]),
        ("unwanted running", [85, 53, 31, 44, 50, 88, 87, 90]),
        ("hello,world!", [83, 68, 84, 69]),
        ("(12)…", [73, 58, 94, 74, 75]),
        ("$", [UNK]),
        ("CAFÉ", [7, 31, 36, 35]),
        ("cafe\u0301", [7, 31, 36, 35]),
        ("ß aß", [UNK, 5, 92]),
        ("中国a", [95, 96, 5]),
        ("a中b", [5, 95, 6]),
        ("ΣΣ", [UNK]),  # the fast tokenizer folds a final sigma to σ
        ("σς", [97, 98]),
        ("ca\u00adt", [77]),
        ("ca\x00t", [77]),
        ("ca\u200bt", [77]),
        ("a\u2003b", [5, 6]),
        ("[MASK] [mask]", [MASK, UNK, 17, 31, 49, 41, UNK]),
        ("a[SEP]b", [5, SEP, 6]),
        ("[[CLS]]", [UNK, CLS, UNK]),
        ("a" * 100, [5] + [31] * 61),
        ("a" * 101, [UNK]),
        ("é" * 101 + " a", [UNK, 5]),
    ],
)
def test_ids_by_hand(tiny_tokenizer, text: str, ids: list[int]):
    assert ids_of(tiny_tokenizer, text) == ids


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("the  cat", [(0, 3), (5, 8)]),
        ("wanted", [(0, 4), (4, 6)]),
        ("é中 cat", [(0, 2), (2, 5), (6, 9)]),
        ("cafe\u0301.", [(0, 1), (1, 2), (2, 3), (3, 4), (6, 7)]),
        ("a\x00b\x01c [SEP]", [(0, 1), (2, 3), (4, 5), (6, 11)]),
        ("😀 dog", [(0, 4), (5, 8)]),
    ],
)
def test_offsets_by_hand_are_bytes_of_the_callers_text(tiny_tokenizer, text: str, spans: list[tuple[int, int]]):
    _, starts, limits, _ = run(tiny_tokenizer, [text])[0]
    assert list(zip(starts, limits, strict=True)) == [(-1, -1), *spans, (-1, -1)]


def test_an_empty_batch_gives_empty_outputs(tiny_tokenizer):
    assert run(tiny_tokenizer, []) == []


@pytest.mark.parametrize("length", [3, 4, 5, 9])
def test_truncation_keeps_the_first_tokens_and_sep(checkpoint, tokenizer_of, length: int):
    tokenizer = tokenizer_of(checkpoint.tokenizer, length)
    texts = ["the cat sat", "the", "", "thé cat sat on the mat and", "the cat sat on the mat and"]
    whole = [[CLS, 76, 77, 79, SEP], [CLS, 76, SEP], [CLS, SEP], *[[CLS, 76, 77, 79, 80, 76, 81, 82, SEP]] * 2]
    for (ids, starts, limits, count), wanted in zip(run(tokenizer, texts), whole, strict=True):
        assert ids == (wanted if len(wanted) <= length else [*wanted[: length - 1], SEP])
        assert len(starts) == len(limits) == len(ids)
        assert count == len(wanted)


def test_texts_of_all_kinds_in_one_batch_give_what_each_gives_alone(tiny_tokenizer):
    texts = ["the cat", "", "Café 中国", "[MASK] the", "the\x00cat", " ", "hello", b"\xff the", "ﬁ", "the cat sat on"]
    alone = [run(tiny_tokenizer, [text])[0] for text in texts]
    assert run(tiny_tokenizer, texts) == alone
    assert run(tiny_tokenizer, texts[::-1]) == alone[::-1]


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        b"the \xe9 cat",  # latin-1
        b"\xc3",  # cut in the middle of a character
        b"the \xe4\xb8",
        b"\xe4\xb8\xad\xe4",
        b"\xf0\x9f\x98",
        b"\xc0\x80",  # over-long
        b"\xed\xa0\x80 cat",  # a surrogate
        b"\xf4\x90\x80\x80",  # beyond Unicode
        b"\xf8\x88\x80\x80\x80",
        b"cat\x80\x80dog",
        b"[MASK]\xff[SEP]",
        "the cat".encode("utf-16"),
        bytes(range(256)),
    ],
)
def test_invalid_utf8_counts_as_replacement_characters(tiny_tokenizer, data: Path, raw: bytes):
    check_bytes(tiny_tokenizer, data, [raw])


def test_random_bytes_are_tokenized_as_their_replaced_text_with_offsets_into_the_raw_bytes(tiny_tokenizer, data: Path):
    rng = random.Random(5)
    edges = (0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF,
             0xF0, 0xF1, 0xF4, 0xF5, 0xFF)  # fmt: skip
    whole = "the café 中国 😀 [MASK] é\u302f\u0323 a\u0301".encode()
    texts = []
    for _ in range(4000):
        texts.append(rng.randbytes(rng.randint(1, 16)))
        texts.append(bytes(rng.choice(edges) for _ in range(rng.randint(1, 12))))
        cut = sorted(rng.sample(range(len(whole) + 1), 4))
        texts.append(whole[cut[0] : cut[1]] + rng.choice((b"", b"\xff", b"\x80")) + whole[cut[2] : cut[3]])
    check_bytes(tiny_tokenizer, data, texts)


def check_bytes(tokenizer, data: Path, texts: list[bytes]) -> None:
    tokenize, whole = reference_of(data / "tiny_bert", 64), reference_of(data / "tiny_bert")
    for start in range(0, len(texts), 1000):
        batch = texts[start : start + 1000]
        for raw, got in zip(batch, run(tokenizer, batch), strict=True):
            wanted = tokenize(raw)
            assert got == (wanted.ids, wanted.starts, wanted.limits, wanted.count), raw
            assert whole(raw.decode("utf-8", "replace")).ids[:63] == wanted.ids[:63]
