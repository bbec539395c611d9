"""Entities from tags, compared with transformers' own pipeline, and their positions in texts of every kind."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rawbert.serving import DecodeError, Entity
from rawbert.serving.client import entities as rules
from rawbert.serving.client.entities import TokenTags

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
PLAIN = ["O", "NOUN", "VERB", "X-Y"]
PIECES = (
    "the president of the republic", "Johannesburg", "internationalisation", "micro", "e-mail@example.com", "don't",
    "Ångström", "e\u0301", "nai\u0308ve", "caf\u00e9", "x\u0323\u0307y", "\u0301", "ﬁne", "İstanbul", "ß", "U.S.A.",
    "Ελληνικά", "Ἀθῆναι", "中文", "北京大学", "日本語の", "한국어", "מִלָּה", "हिन्दी", "ไทย", "1,234.56", "...", "-",
    "👍🏽", "👩\u200d👩\u200d👧", "🇬🇷", "😀word", "word😀", "[SEP]", "[UNK]", "[MASK]", "##ing", "a" * 120,
    "\u00ad", "\x00", "\ufffd", "\u200b", "\t", "\n",
)  # fmt: skip


def texts(count: int) -> list[str]:
    """Texts of unusual pieces, with and without spaces between them, and an empty text."""
    chance = random.Random(29)
    made = [""]
    while len(made) < count:
        words = chance.choices(PIECES, k=chance.randint(1, 9))
        made.append("".join(word + chance.choice(["", " ", " ", "  "]) for word in words))
    return made


@pytest.fixture(scope="module")
def tokenizer(minilm_folder: Any) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm_folder)


@pytest.fixture(scope="module")
def unigram() -> Any:
    """A fast tokenizer without a prefix for parts of words."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = [("<unk>", 0.0), ("▁", -1.0), *((f"▁{word}", -2.0) for word in ("the", "micro")), ("of", -3.0)]
    letters = sorted(set("".join(PIECES)) - {"▁", " ", "\u0301", "国"})
    model = tokenizers.models.Unigram([*vocabulary, *((letter, -9.0) for letter in letters)], 0)
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def answer(tokenizer: Any, text: str, names: list[str], chance: np.random.Generator) -> tuple[TokenTags, Any]:
    """The answer of a model for a text, with random tags, and the tokenizer's output."""
    said = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    count = len(said.input_ids)
    logits = chance.normal(size=(count, len(names))).astype(np.float32) * 3
    for at in range(1, count):  # Neighbours often agree.
        if chance.random() < 0.5:
            logits[at] = logits[at - 1] + chance.normal(size=len(names))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = ~np.array(said.special_tokens_mask, bool)
    bytes_before = np.cumsum([0, *(len(char.encode()) for char in text)])
    offsets = np.array(said.offset_mapping, np.int64).reshape(-1, 2)
    spelled = tokenizer.convert_ids_to_tokens(said.input_ids)
    prefixed = bool(getattr(tokenizer._tokenizer.model, "continuing_subword_prefix", None))
    lengths = [
        0 if at == tokenizer.unk_token_id else len(token) if prefixed else -1
        for at, token in zip(said.input_ids, spelled, strict=True)
    ]
    made = TokenTags(
        ids=np.array(said.input_ids, np.int32),
        start_offsets=np.where(own, bytes_before[offsets[:, 0]], -1).astype(np.int32),
        limit_offsets=np.where(own, bytes_before[offsets[:, 1]], -1).astype(np.int32),
        token_count=count,
        tag_scores=scores,
        tag=np.array([names[at].encode() for at in scores.argmax(axis=1)], object),
        tags=[name.encode() for name in names],
        token_lengths=np.array(lengths, np.int32),
    )
    return made, said


def pipeline(tokenizer: Any, names: list[str]) -> Any:
    """The part of transformers' pipeline after the scores, ``postprocess``, which needs no PyTorch."""
    from transformers.pipelines.token_classification import AggregationStrategy, TokenClassificationPipeline

    made = object.__new__(TokenClassificationPipeline)
    made.tokenizer = tokenizer
    made.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(names))))

    def run(text: str, said: Any, scores: Any, aggregation: str) -> list[dict[str, Any]]:
        strategy = AggregationStrategy(aggregation)
        ids, offsets, special = np.array(said.input_ids), said.offset_mapping, np.array(said.special_tokens_mask)
        found = made.aggregate(made.gather_pre_entities(text, ids, scores, offsets, special, strategy), strategy)
        return [each for each in found if each.get("entity") != "O" and each.get("entity_group") != "O"]

    return run


def plain(found: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return [(each.get("entity_group", each.get("entity")), each["start"], each["end"]) for each in found]


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("names", [BIO, PLAIN], ids=["BIO", "plain"])
@pytest.mark.parametrize("kind", ["tokenizer", "unigram"])
def test_entities_are_those_of_transformers(kind: str, names: list[str], request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    theirs, chance = pipeline(tokenizer, names), np.random.default_rng(29)
    differ = 0
    for text in texts(500):
        tokens, said = answer(tokenizer, text, names, chance)
        spans = {}
        for aggregation in rules.AGGREGATIONS:
            expected = theirs(text, said, tokens.tag_scores, aggregation)
            found = rules.entities(text, tokens, aggregation, ["O"])  # type: ignore[arg-type]
            spans[aggregation] = [(each.label, each.start, each.end) for each in found]
            assert spans[aggregation] == plain(expected), (text, aggregation)
            scores = [each["score"] for each in expected]
            np.testing.assert_allclose([each.score for each in found], scores, rtol=1e-6)
            assert [each.text for each in found] == [text[each.start : each.end] for each in found]
        differ += len({str(each) for each in spans.values()}) == len(spans)
    assert differ > 20  # The aggregations do differ on such texts.


def test_places_in_bytes_are_bytes(tokenizer: Any) -> None:
    chance = np.random.default_rng(1)
    for text in texts(100):
        tokens, _ = answer(tokenizer, text, BIO, chance)
        of_text, of_bytes = (rules.entities(given, tokens, "average", ["O"]) for given in (text, text.encode()))
        assert [(each.label, each.text, each.score) for each in of_text] == [
            (each.label, each.text, each.score) for each in of_bytes
        ]
        assert [text.encode()[each.start : each.end].decode() for each in of_bytes] == [each.text for each in of_text]


def tagged(tags: str, names: list[str], text: str = "") -> list[tuple[str, str]]:
    """Entities of a text of single letters with the given tags; each letter is a word."""
    given = tags.split()
    text = text or " ".join("abcdefghij"[: len(given)])
    places = [at for at, char in enumerate(text) if char != " "]
    tokens = TokenTags(
        ids=np.arange(len(given)),
        start_offsets=np.array(places),
        limit_offsets=np.array(places) + 1,
        token_count=len(given),
        tag_scores=np.eye(len(names), dtype=np.float32)[[names.index(each) for each in given]],
        tag=np.array([each.encode() for each in given], object),
        tags=[each.encode() for each in names],
        token_lengths=np.ones(len(given), np.int32),
    )
    return [(each.label, each.text) for each in rules.entities(text, tokens, "simple", ["O"])]


@pytest.mark.parametrize(("first", "inside", "last", "single"), ["BIES", "BILU", "BMES"])
def test_tags_that_mark_the_end_too(first: str, inside: str, last: str, single: str) -> None:
    prefixes = dict(zip("BIES", (first, inside, last, single), strict=True))
    names = ["O", *(f"{prefix}-{name}" for name in ("PER", "LOC") for prefix in prefixes.values())]

    def found(tags: str) -> list[tuple[str, str]]:
        spelled = [each if each == "O" else prefixes[each[0]] + each[1:] for each in tags.split()]
        return tagged(" ".join(spelled), names)

    assert found("B-PER I-PER E-PER") == [("PER", "a b c")]
    assert found("B-PER E-PER S-PER O S-LOC") == [("PER", "a b"), ("PER", "c"), ("LOC", "e")]
    assert found("S-PER S-PER B-PER E-PER") == [("PER", "a"), ("PER", "b"), ("PER", "c d")]
    assert found("E-PER I-PER E-PER I-LOC") == [("PER", "a"), ("PER", "b c"), ("LOC", "d")]
    assert found("B-PER E-LOC") == [("PER", "a"), ("LOC", "b")]


def test_names_that_only_look_like_ends() -> None:
    assert tagged("S-X S-X E-X", ["O", "S-X", "E-X", "Z"]) == [("X", "a b"), ("X", "c")]  # as transformers does
    assert tagged("B-X I-X B-X I-Y", ["O", "B-X", "I-X", "I-Y"]) == [("X", "a b"), ("X", "c"), ("Y", "d")]


def test_of_overlapping_entities_the_longest_is_kept() -> None:
    def entity(start: int, end: int, score: float) -> Entity:
        return Entity("X", "", start, end, score)

    found = [entity(0, 4, 0.5), entity(8, 9, 0.5), entity(2, 7, 0.1), entity(7, 8, 0.2), entity(8, 9, 0.6)]
    assert rules.merged(found) == [found[2], found[3], found[4]]
    assert rules.merged([]) == []


def test_tokens_beyond_the_text_are_a_decode_error(tokenizer: Any) -> None:
    tokens, _ = answer(tokenizer, "a longer text", BIO, np.random.default_rng(0))
    for given in ("é", b"short"):
        with pytest.raises(DecodeError, match="beyond the end of a text"):
            rules.entities(given, tokens, "none", [])
