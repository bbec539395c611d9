"""The samples and calls of the proof; a sample without an answer is an error."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import folders
import pytest
from proofs import resolved
from rawbert.exporter import VerificationError
from rawbert.exporter.proof import answers, samples


@pytest.mark.parametrize("lengths", [[3, 9, 9, 2, 64, 64, 64], list(range(2, 40)), [5] * 30])
def test_every_sample_is_asked_for_alone_in_pairs_in_eights_and_in_64(lengths: list[int]):
    every = set(range(len(lengths)))
    calls = samples.calls(lengths)
    by_size = {size: [at for at in calls if len(at) == size] for size in (1, 2, 8, 64)}
    assert sum(map(len, by_size.values())) == len(calls)
    for size in (1, 2, 8):
        assert {row for at in by_size[size] for row in at} == every
    assert len(by_size[64]) == 1
    assert set(by_size[64][0]) == every
    if len(set(lengths)) > 1:
        assert all(lengths[one] != lengths[other] for one, other in by_size[2])


@pytest.mark.parametrize("length", [3, 4, 17, 64])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tokenizer": "tf-text"},
        {"pair": True},
        {"pair": True, "truncation_strategy": "only_first"},
        {"pair": True, "truncation_strategy": "only_second", "truncation_side": "left"},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())) or "single",
)
def test_samples_are_as_long_as_can_be_one_token_longer_and_much_longer(data: Path, length: int, settings: dict):
    recipe, _ = resolved(data / "tiny_bert", max_seq_length=length, signatures=("tokenize",), **settings)
    expected = answers.compute(recipe, data / "tiny_bert")
    counts = {each.tokens.count for each in expected}
    assert {length, length + 1} <= counts
    assert max(counts) > 1.2 * length
    assert {len(each.tokens.ids) for each in expected} <= set(range(2, length + 1))
    assert len(expected) == len({each.text for each in expected})


@pytest.mark.parametrize("length", [12, 64])
def test_special_tokens_are_found_in_short_texts_too(data: Path, length: int):
    recipe, _ = resolved(data / "tiny_bert", max_seq_length=length, signatures=("tokenize",))
    vocabulary = folders.vocabulary(data / "tiny_bert")
    expected = answers.compute(recipe, data / "tiny_bert")
    for token in ("[CLS]", "[PAD]"):  # the first and the last of those that this vocabulary has
        assert any(vocabulary.index(token) in each.tokens.ids[1:-1] for each in expected)


def test_a_special_token_without_a_row_is_in_no_sample_and_an_error_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = folders.tiny(tmp_path / "source")
    folders.use_vocabulary(source, ["other" if word == "[MASK]" else word for word in folders.vocabulary(source)])
    recipe, _ = resolved(source, signatures=("tokenize",))
    expected = answers.compute(recipe, source)
    assert not any("[MASK]" in str(each.text) for each in expected)
    assert any("[SEP]" in str(each.text) for each in expected)
    chosen = samples.chosen
    monkeypatch.setattr(samples, "chosen", lambda *arguments: [*chosen(*arguments), ("a [MASK] of its own",)])
    with pytest.raises(VerificationError, match=r"cannot answer the sample 'a \[MASK\] of its own'"):
        answers.compute(recipe, source)


def test_the_reference_finds_out_the_length_for_itself(data: Path):
    recipe, _ = resolved(data / "tiny_bert", signatures=("tokenize",))
    wrong = dataclasses.replace(recipe, max_seq_length=32)
    with pytest.raises(VerificationError, match="cut at 32 tokens, but the reference reads a limit of 64"):
        answers.compute(wrong, data / "tiny_bert")
    assert answers.compute(dataclasses.replace(wrong, chosen=("max_seq_length",)), data / "tiny_bert")
