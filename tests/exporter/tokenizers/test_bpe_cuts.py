"""Pairs and truncation of byte-level BPE tokenizers, held to transformers' tokenizer over the same folder."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import pytest
from bpe import modernbert, roberta, rules_of, variant

TEXTS = ("", "the cat", " sat's", "a <mask>  中 é", "  aaaa bb <mask>", "\xe9")

#: RoBERTa's own vocabulary, and one of ModernBERT's kind.
OWN = {"roberta": roberta, "modernbert": modernbert}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "name", ["plain", "blank", "nfc", *(pytest.param(each, marks=pytest.mark.slow) for each in OWN)]
)
def test_every_length_and_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, side: str):
    import tensorflow as tf
    from rawbert.exporter.proof.settings import Settings
    from rawbert.exporter.proof.tokenizer_files import of_folder
    from rawbert.exporter.proof.tokens import ReferenceTokenizer
    from rawbert.exporter.recipe import TRUNCATION_STRATEGIES, TokenizerOptions
    from rawbert.exporter.tokenizers import tokenizer as tokenizers

    # The tables of a vocabulary are made once for all lengths.
    monkeypatch.setitem(tokenizers.TOKENIZERS, "bpe", functools.cache(tokenizers.Bpe))
    rules = rules_of(OWN[name]() if name in OWN else variant(name), tmp_path)
    pairs = list(itertools.product(TEXTS, TEXTS))
    # Of the real vocabularies every length, from special tokens alone to one more than the longest text or pair has.
    alone, together = (range(2, 16), range(4, 28)) if name in OWN else ((2, 3, 5), (5, 8, 30))
    for strategy, length in (
        *itertools.product([None], alone), *itertools.product(TRUNCATION_STRATEGIES, together),
    ):  # fmt: skip
        options = TokenizerOptions(
            pair=strategy is not None, truncation_side=side, **({"truncation_strategy": strategy} if strategy else {})
        )
        wanted = ReferenceTokenizer(of_folder(Settings(tmp_path)), length, options)
        tokenizer = tokenizers.Tokenizer(rules, length, options)
        batch = pairs if strategy else [(text,) for text in TEXTS]
        out = [
            None if each is None else each.numpy() for each in tokenizer(*map(tf.constant, zip(*batch, strict=True)))
        ]
        for row, texts in enumerate(batch):
            made = wanted(*texts)
            count = len(made.ids)
            assert out[0][row, :count].tolist() == made.ids, (name, strategy, length, texts)
            assert out[1][row].sum() == count
            assert out[2][row, :count].tolist() == made.starts, (name, strategy, length, texts)
            assert out[3][row, :count].tolist() == made.limits, (name, strategy, length, texts)
            assert out[4][row] == made.count
            assert out[5] is None or out[5][row, :count].tolist() == made.types
