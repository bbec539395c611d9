"""The SentencePiece tokenizer of a Hub encoder: ids of the Hub's own preprocessing model, and places in the text."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hub_albert import ids_of, packed, preprocess_of, unpack
from rawbert.exporter.proof import samples
from strings import CHARACTERS, EMOJI, MARKS

#: Characters that join, change places, disappear or are replaced by several.
ODD = [
    *"\u1100\u1161\u11a8\u1112\uac00\uac01\u3133\uff76\uff9e\u304b\u3099\u09c7\u09be\u09d7\u0345\u0301\u0344",
    *"\u302e\u302f\U0001d165\u1b44\u200d\u00ad\ufe0f\ufeff\u0130\u00df\u03a3\u0149\u2460\u00bd\ufb01\ufdfa\u212b",
    *"ABab '.,-( 1\u00e9\u20ac\u2581\ufffd\x00\t\n\u00a0\u3000",
]
BAD = [b"\xe9", b"\xff\xfe", b"\xc3", b"\xe4\xb8", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\x80", b"\xcc"]


class Case:
    def __init__(self, folder: Path) -> None:
        import tensorflow as tf
        from rawbert.exporter.sources.sentencepiece import read_hub_model
        from rawbert.exporter.tokenizers.tokenizer import Tokenizer

        self.spec = read_hub_model(folder / "encoder" / "assets" / "30k-clean.model", True)
        tokenizer = Tokenizer(self.spec, 10**6)
        self._graph = tf.function(lambda text: tokenizer(text)[:5], input_signature=[tf.TensorSpec([None], tf.string)])
        self.preprocess = preprocess_of(folder)

    def __call__(self, texts: list[bytes]) -> list[tuple[list[int], list[int], list[int], int]]:
        """Ids, places and count of each text, without special tokens."""
        import tensorflow as tf

        ids, mask, starts, limits, counts = (each.numpy() for each in self._graph(tf.constant(texts, tf.string)))
        return [
            (row[1 : kept - 1].tolist(), start[1 : kept - 1].tolist(), limit[1 : kept - 1].tolist(), int(count))
            for row, kept, start, limit, count in zip(ids, mask.sum(1), starts, limits, counts, strict=True)
        ]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(unpack(tmp_path_factory.mktemp("hub_albert")))


def require_equal(case: Case, texts: list[bytes]) -> None:
    wrong = []
    for at in range(0, len(texts), 4096):
        part = texts[at : at + 4096]
        for text, (ids, starts, limits, count), wanted in zip(
            part, case(part), ids_of(case.preprocess, part), strict=True
        ):
            ordered = all(
                a <= b for each in (starts, limits) for a, b in zip([0, *each], [*each, len(text)], strict=True)
            )
            within = all(start <= limit for start, limit in zip(starts, limits, strict=True))
            if ids != wanted or count != len(ids) + 2 or not ordered or not within:
                wrong.append(f"{text!r}: {ids}, not {wanted}; {starts} to {limits}")
    assert not wrong, f"{len(wrong)} of {len(texts)}\n" + "\n".join(wrong[:5])


def mixtures(rng: random.Random, count: int) -> list[bytes]:
    alphabet = [*ODD, *CHARACTERS, *MARKS, *EMOJI]
    texts = []
    for _ in range(count):
        parts = [rng.choice(alphabet).encode() for _ in range(rng.randint(1, 14))]
        if rng.random() < 0.1:
            parts.insert(rng.randrange(len(parts)), rng.choice(BAD))
        texts.append(b"".join(parts))
    return texts


def test_ids_are_those_of_the_hubs_preprocessing(case: Case):
    texts = [text if isinstance(text, bytes) else text.encode() for text in (*samples.TEXTS, *samples.BYTES)]
    texts += [b"[CLS] [SEP] [MASK] <pad> <unk> x[MASK]y", b'1,000 and 25,000 (a.b) "c" - d']
    require_equal(case, [*texts, *mixtures(random.Random(1), 3000)])


@pytest.mark.slow
def test_ids_of_every_code_point_in_context_and_of_many_mixtures(case: Case):
    chars = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    require_equal(case, [f"a{char}b".encode() for char in chars])
    require_equal(case, [f"\u1100{char}\u1161".encode() for char in chars])
    rng = random.Random(2)
    require_equal(case, mixtures(rng, 200_000))
    require_equal(case, ["".join(rng.choices(chars, k=rng.randint(1, 9))).encode() for _ in range(200_000)])


PLACES: dict[str, list[tuple[str, str]]] = {
    "One two": [("\u2581one", "One"), ("\u2581two", " two")],
    "  one": [("\u2581one", "one")],
    "caf\u00e9 na\u00efve": [("\u2581cafe", "caf\u00e9"), ("\u2581naive", " na\u00efve")],
    "cafe\u0301": [("\u2581cafe", "cafe\u0301")],
    "one\u00a0two": [("\u2581one", "one"), ("\u2581two", "\u00a0two")],
    "ONE\u200b": [("\u2581one", "ONE\u200b")],
    # A token with several characters of a text, and several tokens with one.
    "(\u1112\u1161\u11ab": [("\u2581", ""), ("(", "("), ("\ud55c", "\u1112\u1161\u11ab")],
    "\u2460": [("\u2581", ""), ("1", "\u2460")],
}  # fmt: skip


def test_places_are_those_of_the_callers_text(case: Case):
    pieces = {piece: at for at, piece in enumerate(case.spec.vocab)}
    for text, tokens in PLACES.items():
        raw = text.encode()
        (ids, starts, limits, _), *_ = case([raw, b"other"])
        found = [(case.spec.vocab[at], raw[start:limit].decode()) for at, start, limit in
                 zip(ids, starts, limits, strict=True)]  # fmt: skip
        assert found == [(piece if piece in pieces else "<unk>", part) for piece, part in tokens], ascii(text)


def test_an_invalid_sequence_is_one_place(case: Case):
    (ids, starts, limits, _), *_ = case([b"one \xe4\xb8 two \xc3\xa9", b"x"])
    spans = {(start, limit) for start, limit in zip(starts, limits, strict=True)}
    assert ids == ids_of(case.preprocess, [b"one \xe4\xb8 two \xc3\xa9"])[0]
    assert (4, 6) in spans
    assert limits[-1] == 13


@pytest.mark.parametrize("length", [5, 10])
def test_pairs_are_packed_as_by_the_hubs_preprocessing(case: Case, length: int):
    import tensorflow as tf
    from rawbert.exporter.recipe import TokenizerOptions
    from rawbert.exporter.tokenizers.tokenizer import Tokenizer

    texts = mixtures(random.Random(4), 40)
    pairs = [texts, texts[7:] + texts[:7]]
    for columns in ([texts], pairs):
        graph = Tokenizer(case.spec, length, TokenizerOptions(pair=len(columns) > 1))
        encoding = graph(*(tf.constant(column) for column in columns))
        kept = encoding.input_mask.numpy().sum(1)
        types: Any = encoding.input_type_ids
        found = [
            (row[:count].tolist(), kind[:count].tolist())
            for row, kind, count in zip(
                encoding.input_word_ids.numpy(),
                (tf.zeros_like(encoding.input_word_ids) if types is None else types).numpy(),
                kept,
                strict=True,
            )
        ]
        assert found == packed(case.preprocess, columns, length)
