"""--tokenizer tf-text gives the ids of tensorflow-text's own BertTokenizer, offsets into the caller's bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from rawbert.exporter.recipe import ExportConfig, TokenizerOptions
from strings import CHARACTERS, SPECIAL, random_string

VOCABULARY = tuple(dict.fromkeys((*SPECIAL, *CHARACTERS, *(f"##{char}" for char in CHARACTERS), "word", "##ing")))


def pair_of(lowercase: bool):
    """tensorflow-text's own tokenizer over the vocabulary, and the graph's."""
    import tensorflow as tf
    import tensorflow_text as tf_text
    from rawbert.exporter.tokenizers.spec import bert_template
    from rawbert.exporter.tokenizers.tokenizer import Tokenizer
    from rawbert.exporter.tokenizers.wordpiece.spec import WordPieceSpec

    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(VOCABULARY, range(len(VOCABULARY)), value_dtype=tf.int64), 1
    )
    rules = WordPieceSpec(VOCABULARY, 0, bert_template(2, 3), lowercase=lowercase)
    graph = Tokenizer(rules, 10**6, TokenizerOptions(tokenizer="tf-text"))
    return tf_text.BertTokenizer(table, lower_case=lowercase), graph


def check(reference, graph, texts: list[str]) -> None:
    import tensorflow as tf

    raw = tf.constant([text.encode() for text in texts])
    wanted = reference.tokenize(raw).merge_dims(1, 2).to_list()
    out = tf.function(lambda text: graph(text)[:5])(raw)
    ids, mask, starts, limits, counts = (value.numpy() for value in out)
    wrong = []
    for row, text in enumerate(texts):
        count = int(mask[row].sum())
        if ids[row, 1 : count - 1].tolist() != wanted[row] or counts[row] != len(wanted[row]) + 2:
            wrong.append(f"{text!a}: {ids[row, 1 : count - 1]}, not {wanted[row]}")
        spans = list(zip(starts[row, 1 : count - 1].tolist(), limits[row, 1 : count - 1].tolist(), strict=True))
        assert spans == sorted(spans)
        assert all(0 <= start < limit <= len(text.encode()) for start, limit in spans)
    assert not wrong, f"{len(wrong)} of {len(texts)} differ, so {min(wrong, key=len)}"


@pytest.mark.parametrize("lowercase", [True, False])
def test_random_strings(lowercase: bool):
    reference, graph = pair_of(lowercase)
    rng = random.Random(4)
    check(reference, graph, [random_string(rng, ("é",)) for _ in range(3000)])


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [True, False])
def test_every_scalar_value_within_a_word(lowercase: bool):
    reference, graph = pair_of(lowercase)
    codes = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    for start in range(0, len(codes), 50_000):
        check(reference, graph, [f"a{chr(code)}b c" for code in codes[start : start + 50_000]])


@pytest.mark.parametrize("pair", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_export_is_held_to_tensorflow_text(data: Path, tmp_path: Path, pair: bool):
    import tensorflow as tf
    from rawbert.exporter import export

    config = ExportConfig(
        data / "tiny_bert", tmp_path / "m", tokenizer="tf-text", pair=pair, max_seq_length=12, target_serving="2.12"
    )
    bundle = export(config)
    assert bundle.manifest["recipe"]["tokenization"]["tokenizer"] == "tf-text"
    tokenize = tf.saved_model.load(str(bundle.path)).signatures["tokenize"]
    texts = {
        "text": tf.constant(["[MASK] ①", "the " * 20]),
        **({"text_pair": tf.constant(["cat", "dog " * 20])} if pair else {}),
    }
    ids = tokenize(**texts)["input_word_ids"].numpy()
    assert 4 not in ids[0]  # [MASK] is no token of its own
    if pair:
        assert ids[1].tolist().count(76) == 5  # the odd token goes to the first text
