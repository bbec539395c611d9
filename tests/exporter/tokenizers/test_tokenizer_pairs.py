"""Pairs and truncation, held to transformers at every maximum length."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from rawbert.exporter import ConfigError, VerificationError
from rawbert.exporter.recipe import TRUNCATION_SIDES, TRUNCATION_STRATEGIES, ExportConfig, TokenizerOptions

PIECES = (
    "the", "cat", "sat", "on", "mat", "and", "ran", "running", "unwanted", "café", "中国", "[MASK]", "[SEP]",
    "hello,", "\x00", "é" * 101, "  ", "(12)…", "ß", "a\u302e\U0001d165", "$",
)  # fmt: skip


def random_text(rng: random.Random) -> str:
    count = rng.choice((0, 1, 2, 5, 20, 100, 300))
    return " ".join(rng.choice(PIECES) for _ in range(rng.randint(0, count)))


def reference(folder: Path, length: int, options: TokenizerOptions):
    from rawbert.exporter.proof.tokens import ReferenceTokenizer
    from transformers import AutoTokenizer

    return ReferenceTokenizer(AutoTokenizer.from_pretrained(folder), length, options)


def check(rows, rules, texts: list[tuple[str, ...]], tokenize, length: int, options: TokenizerOptions) -> None:
    """Cut and pack, and compare a few of the texts."""
    from rawbert.exporter.tokenizers import templates

    if options.pair:
        encoding = templates.encode(rows, rules, length, options.truncation_side, options.truncation_strategy)
    else:
        encoding = templates.encode(rows, rules, length, options.truncation_side)
        assert encoding.input_type_ids is None
        encoding = encoding._replace(input_type_ids=encoding.input_mask * 0)
    ids, mask, starts, limits, counts, types = (value.numpy() for value in encoding)
    assert ids.shape[1] <= length
    tokenize._cut["max_length"] = tokenize._max_length = length
    for row in {(length * 7 + more) % len(texts) for more in range(6)}:
        wanted, count = tokenize(*texts[row]), int(mask[row].sum())
        assert mask[row].tolist() == [1] * count + [0] * (len(mask[row]) - count)
        for value, padding in ((ids, 0), (starts, -1), (limits, -1), (types, 0)):
            assert (value[row, count:] == padding).all()
        got = [value[row, :count].tolist() for value in (ids, starts, limits, types)]
        assert got == [wanted.ids, wanted.starts, wanted.limits, wanted.types], (length, texts[row])
        assert counts[row] == wanted.count


#: All of them take a while.
LENGTHS = pytest.mark.parametrize(
    "lengths", [(*range(3, 66), *range(66, 513, 19), 512), pytest.param(range(3, 513), marks=pytest.mark.slow)],
    ids=["many", "all"],
)  # fmt: skip


@LENGTHS
@pytest.mark.parametrize("strategy", TRUNCATION_STRATEGIES)
@pytest.mark.parametrize("side", TRUNCATION_SIDES)
def test_random_pairs(tiny_tokenizer, checkpoint, data: Path, side: str, strategy: str, lengths: Iterable[int]):
    import tensorflow as tf

    rng = random.Random(f"{side} {strategy}")
    options = TokenizerOptions(pair=True, truncation_side=side, truncation_strategy=strategy)
    tokenize = reference(data / "tiny_bert", 3, options)
    pairs = [(random_text(rng), random_text(rng)) for _ in range(80)]
    rows = tiny_tokenizer._rows(tf.constant([pair[at].encode() for at in (0, 1) for pair in pairs]))
    for length in lengths:
        check(rows, checkpoint.tokenizer, pairs, tokenize, length, options)


@LENGTHS
@pytest.mark.parametrize("side", TRUNCATION_SIDES)
def test_random_texts(tiny_tokenizer, checkpoint, data: Path, side: str, lengths: Iterable[int]):
    import tensorflow as tf

    rng = random.Random(side)
    options = TokenizerOptions(truncation_side=side)
    tokenize = reference(data / "tiny_bert", 3, options)
    texts = [(random_text(rng),) for _ in range(80)]
    rows = tiny_tokenizer._rows(tf.constant([text.encode() for (text,) in texts]))
    for length in lengths:
        check(rows, checkpoint.tokenizer, texts, tokenize, length, options)


def test_two_columns_of_unequal_length_are_refused(checkpoint, tokenizer_of):
    import tensorflow as tf

    tokenizer = tokenizer_of(checkpoint.tokenizer, 16, TokenizerOptions(pair=True))
    with pytest.raises(tf.errors.InvalidArgumentError, match="the same number of strings"):
        tokenizer(tf.constant(["one", "two"]), tf.constant(["one"]))


def test_an_empty_batch_of_pairs(checkpoint, tokenizer_of):
    import tensorflow as tf

    none = tf.constant([], tf.string)
    encoding = tokenizer_of(checkpoint.tokenizer, 16, TokenizerOptions(pair=True))(none, none)
    assert all(value.shape[0] == 0 for value in encoding)


def test_a_strategy_for_pairs_is_refused_without_pairs(data: Path):
    from rawbert.exporter import sources
    from rawbert.exporter.resolve import resolve

    with pytest.raises(ConfigError, match="is for pairs of texts"):
        ExportConfig(encoder="x", output="y", pair=False, truncation_strategy="only_first")
    # Whether a model is for pairs may be for the checkpoint to say.
    config = ExportConfig(encoder=data / "tiny_bert", output="y", truncation_strategy="only_first")
    with pytest.raises(ConfigError, match="is for pairs of texts"):
        resolve(config, sources.load(config.encoder))


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        ("tiny_bert", {"truncation_strategy": "only_second", "truncation_side": "left"}),
        pytest.param("hub_bert", {"encoder_impl": "native"}, marks=pytest.mark.slow),
        pytest.param("hub_bert", {"encoder_impl": "hub", "pooling": "mean"}, marks=pytest.mark.slow),
    ],
)
def test_a_pair_export_is_verified_and_answers(data: Path, tmp_path: Path, source: str, settings: dict):
    import tensorflow as tf
    from rawbert.exporter import export

    settings = {"pair": True, "max_seq_length": 24, "target_serving": "2.12", **settings}
    bundle = export(ExportConfig(encoder=data / source, output=tmp_path / "m", **settings))
    assert bundle.manifest["recipe"]["tokenization"]["pair"] is True
    assert bundle.manifest["verification"]["texts"] >= 30
    loaded = tf.saved_model.load(str(bundle.path))
    first, second = tf.constant(["the cat", "sat"]), tf.constant(["on the mat", ""])
    out = loaded.signatures["tokenize"](text=first, text_pair=second)
    assert out["input_type_ids"].numpy().tolist() == [[0] * 4 + [1] * 4, [0, 0, 0, 1, 0, 0, 0, 0]]
    # The second text of a pair is told from the first by its type alone.
    pooled = loaded.signatures["pooled"]
    there, back = pooled(text=first, text_pair=second), pooled(text=second, text_pair=first)
    assert abs(there["pooled_output"] - back["pooled_output"]).numpy().max() > 1e-4


def test_a_pair_export_whose_encoder_does_not_see_the_types_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from rawbert.exporter import export
    from rawbert.exporter.graph import savedmodel

    choose = savedmodel.choose_encoder

    def blind(*arguments):
        name, encoder = choose(*arguments)
        call = encoder.__class__.__call__
        monkeypatch.setattr(encoder.__class__, "__call__", lambda self, ids, mask, types=None: call(self, ids, mask))
        return name, encoder

    monkeypatch.setattr(savedmodel, "choose_encoder", blind)
    config = ExportConfig(data / "tiny_bert", tmp_path / "m", pair=True, signatures=("pooled",))
    with pytest.raises(VerificationError, match=r"pooled\.pooled_output is off by"):
        export(config)
