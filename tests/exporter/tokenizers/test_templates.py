"""Templates and truncation, held to the tokenizers library, for families whose template is not BERT's."""

from __future__ import annotations

import itertools

import pytest
from rawbert.exporter.recipe import TRUNCATION_SIDES, TRUNCATION_STRATEGIES
from rawbert.exporter.tokenizers.spec import Piece, Template, TokenizerSpec, bert_template

WORDS = [f"w{number}" for number in range(20)]
VOCAB = ("<pad>", "<s>", "</s>", "<x>", *WORDS)
A, B, PAD, BOS, EOS, X = Piece(text=0), Piece(text=1), 0, Piece(1), Piece(2), Piece(3)

#: In the words of tokenizers' TemplateProcessing, and as ours.
TEMPLATES = {
    "bert": ("<s> $A </s>", "<s> $A </s> $B:1 </s>:1", bert_template(1, 2)),
    "roberta": ("<s> $A </s>", "<s> $A </s> </s> $B </s>", Template((BOS, A, EOS), (BOS, A, EOS, EOS, B, EOS))),
    "special tokens at one end": (
        "<s> <x> $A",
        "<s> <x> $A:2 $B:1",
        Template((BOS, X, A), (BOS, X, Piece(text=0, type=2), Piece(text=1, type=1))),
    ),
}


def reference(single: str, pair: str, length: int, side: str, strategy: str):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(VOCAB)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [(word, VOCAB.index(word)) for word in ("<s>", "</s>", "<x>")]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
    tokenizer.enable_truncation(length, direction=side, strategy=strategy)
    return tokenizer


def rows_of(texts: list[list[str]]):
    import tensorflow as tf
    from rawbert.exporter.tokenizers.ragged import Rows, starts_of

    lengths = tf.constant([len(text) for text in texts], tf.int32)
    flat = [word for text in texts for word in text]
    at = [sum(len(word) + 1 for word in text[:number]) for text in texts for number in range(len(text))]
    stop = [begin + len(word) for begin, word in zip(at, flat, strict=True)]
    columns = ([VOCAB.index(word) for word in flat], at, stop)
    return Rows(*(tf.constant(column, tf.int32) for column in columns), starts_of(lengths)[:-1], lengths)


@pytest.mark.parametrize("side", TRUNCATION_SIDES)
@pytest.mark.parametrize("name", TEMPLATES)
def test_texts_and_pairs_are_those_of_the_tokenizers_library(name: str, side: str):
    from rawbert.exporter.tokenizers import templates

    single, pair, template = TEMPLATES[name]
    spec = TokenizerSpec(VOCAB, PAD, template)
    texts = [WORDS[:count] for count in (0, 1, 3, 6, 9)]
    pairs = list(itertools.product(texts, texts))
    for length in (*range(template.specials(True) + 1, 14), 40):
        for strategy in (None, *TRUNCATION_STRATEGIES):
            tokenizer = reference(single, pair, length, side, strategy or "longest_first")
            batch = [(text,) for text in texts] if strategy is None else pairs
            rows = rows_of([each[at] for at in range(len(batch[0])) for each in batch])
            got = [
                None if each is None else each.numpy().tolist()
                for each in templates.encode(rows, spec, length, side, strategy)
            ]
            ids, mask, starts, limits, counts, types = got
            assert (types is None) == (strategy is None)
            for row, each in enumerate(batch):
                try:
                    wanted = tokenizer.encode(*(" ".join(words) for words in each))
                except Exception as error:  # what comes out of tokenizers has no class of its own
                    if "too short to respect" not in str(error):
                        raise
                    continue
                count, spans = len(wanted.ids), [
                    (-1, -1) if of is None else span
                    for of, span in zip(wanted.sequence_ids, wanted.offsets, strict=True)
                ]  # fmt: skip
                assert mask[row] == [1] * count + [0] * (len(mask[row]) - count)
                assert ids[row] == wanted.ids + [PAD] * (len(mask[row]) - count), (length, strategy, each)
                assert list(zip(starts[row], limits[row], strict=True))[:count] == spans
                assert counts[row] == sum(map(len, each)) + template.specials(strategy is not None)
                assert types is None or types[row][:count] == wanted.type_ids


def test_no_texts_and_no_pairs_give_no_rows():
    from rawbert.exporter.tokenizers import templates

    spec = TokenizerSpec(VOCAB, PAD, TEMPLATES["roberta"][2])
    for strategy in (None, "longest_first"):
        encoding = templates.encode(rows_of([]), spec, 8, "right", strategy)
        assert all(value is None or value.shape[0] == 0 for value in encoding)


def test_offsets_tell_the_texts_of_a_pair_apart():
    template = TEMPLATES["roberta"][2]
    assert template.texts([-1, 0, 3, -1, -1, 0, -1]) == [0, 0, 0, 0, 1, 1, 1]
    assert template.texts([-1, -1, -1, 0, -1]) == [0, 0, 1, 1, 1]


def test_a_length_below_the_special_tokens_is_refused(checkpoint, tokenizer_of):
    from dataclasses import replace

    from rawbert.exporter import ConfigError
    from rawbert.exporter.recipe import TokenizerOptions

    spec = replace(checkpoint.tokenizer, template=TEMPLATES["roberta"][2])
    with pytest.raises(ConfigError, match="give more than the 4 special tokens"):
        tokenizer_of(spec, 3, TokenizerOptions(pair=True))


def test_tensorflow_text_is_refused_for_another_template(checkpoint, tokenizer_of):
    from dataclasses import replace

    from rawbert.exporter import ConfigError
    from rawbert.exporter.recipe import TokenizerOptions

    spec = replace(checkpoint.tokenizer, template=TEMPLATES["roberta"][2])
    with pytest.raises(ConfigError, match="use tokenizer reference"):
        tokenizer_of(spec, 16, TokenizerOptions(tokenizer="tf-text"))
