"""Byte-level BPE tokenizers, read from a folder or refused by name. TensorFlow is not loaded."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bpe import letters, modernbert_form, rules_of, small
from rawbert.exporter import CorruptSource, UnsupportedModel, VocabularyError
from rawbert.exporter.sources.tokenizer_files import read_folder
from rawbert.exporter.tokenizers.bpe.spec import LETTERS, BpeSpec, out_of_order
from rawbert.exporter.tokenizers.spec import Piece, Template


def test_robertas_form(tmp_path: Path):
    rules = rules_of(small(), tmp_path)
    assert isinstance(rules, BpeSpec)
    a, b, start, end = Piece(text=0), Piece(text=1), Piece(0), Piece(2)
    assert rules.template == Template((start, a, end), (start, a, end, end, b, end))
    assert (rules.pad_id, rules.trim_offsets, rules.keeps_prefix_space, rules.nfc) == (1, True, False, False)
    assert rules.vocab[:5] == ("<s>", "<pad>", "</s>", "<unk>", "!")
    assert rules.merges[0] == ("Ġ", "t")
    assert [token.content for token in rules.added_tokens if token.lstrip] == ["<mask>"]
    assert set(rules.token_lengths) == {-1}


def test_modernberts_form(tmp_path: Path):
    rules = rules_of(modernbert_form(small(), CLS=287, SEP=288, MASK=289), tmp_path)
    a, b, start, end = Piece(text=0), Piece(text=1), Piece(287), Piece(288)
    assert rules.template == Template((start, a, end), (start, a, end, b, end))
    assert (rules.nfc, rules.trim_offsets) == (True, False)


def test_letters_are_gpt2s():
    assert sorted(LETTERS) == sorted(letters())
    assert (LETTERS[ord("a")], LETTERS[ord(" ")], LETTERS[0], LETTERS[0xFF]) == ("a", "Ġ", "Ā", "ÿ")


def test_vocab_json_and_merges_txt_are_read_as_transformers_reads_them(tmp_path: Path):
    model = small()["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
    (tmp_path / "merges.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512}), encoding="utf-8")
    rules, length, _ = read_folder(tmp_path, "roberta")
    usual = rules_of(small(), tmp_path / "usual")
    assert length == 512
    for name in ("vocab", "merges", "template", "trim_offsets", "add_prefix_space", "splits", "pad_id"):
        assert getattr(rules, name) == getattr(usual, name), name
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(CorruptSource, match=r"neither tokenizer\.json nor vocab\.txt"):
        read_folder(tmp_path, "roberta")


def test_a_setting_that_differs_from_tokenizer_json_is_noted(tmp_path: Path):
    rules_of(small(), tmp_path)
    settings = {"add_prefix_space": True, "trim_offsets": True, "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    rules, _, notes = read_folder(tmp_path, "roberta")
    assert not rules.add_prefix_space
    assert notes == [
        "tokenizer.json has precedence over tokenizer_config.json, which differs: add_prefix_space (False, not True)"
    ]


def test_the_unknown_token_has_no_length(tmp_path: Path):
    state = copy.deepcopy(small())
    state["model"]["unk_token"] = "<unk>"
    lengths = rules_of(state, tmp_path).token_lengths
    assert lengths[3] == 0
    assert set(lengths[:3] + lengths[4:]) == {-1}


def _model(**changes: Any) -> Callable[[dict], Any]:
    return lambda state: state["model"].update(changes)


def _split(pattern: str, **changes: Any) -> Callable[[dict], Any]:
    def change(state: dict) -> None:
        steps = [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {**state["pre_tokenizer"], "use_regex": False, **changes},
        ]
        state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}

    return change


def _without(state: dict, token: str = "x") -> None:
    del state["model"]["vocab"][token]


def _unknown(**changes: Any) -> Callable[[dict], None]:
    def change(state: dict) -> None:
        _without(state)
        state["model"].update(unk_token="<unk>", **changes)

    return change


def _processors(*steps: dict) -> Callable[[dict], Any]:
    def change(state: dict) -> None:
        state["post_processor"] = {"type": "Sequence", "processors": [*steps, state["post_processor"]]}

    return change


_TRIMS = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
REFUSED = {
    "lower-casing": (lambda state: state.update(normalizer={"type": "Lowercase"}), "Lowercase, but only NFC"),
    "NFD": (lambda state: state.update(normalizer={"type": "NFD"}), "normalizer is NFD"),
    "digits": (
        lambda state: state.update(
            pre_tokenizer={
                "type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": True}, state["pre_tokenizer"]],
            }
        ),
        "pre-tokenizer is Digits and ByteLevel",
    ),
    "metaspace": (
        lambda state: state.update(
            pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
        ),
        "pre-tokenizer is Metaspace",
    ),
    "another pattern": (_split(r"\p{N}{1,3}|\s+"), "only GPT-2's pattern can be exported"),
    "dropout": (_model(dropout=0.1), "dropout is 0.1"),
    "prefix": (_model(continuing_subword_prefix="##", merges=[]), "continuing_subword_prefix is '##'"),
    "suffix": (_model(end_of_word_suffix="</w>", merges=[]), "end_of_word_suffix is '</w>'"),
    "fused": (_unknown(fuse_unk=True), "no token for 1 bytes.*fuse_unk is True"),
    "fallback": (_unknown(byte_fallback=True), "byte_fallback is True"),
    "order": (
        lambda state: state["model"]["merges"].reverse(),
        "create the token '[^']+' after a merge that uses it",
    ),
    "trimmed twice": (_processors(_TRIMS), "RobertaProcessing trims offsets after another step"),
    "unknown key": (_model(surprise=1), "surprise is unknown"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused_by_name(tmp_path: Path, name: str):
    change, message = REFUSED[name]
    state = copy.deepcopy(small())
    change(state)
    with pytest.raises(UnsupportedModel, match=message):
        rules_of(state, tmp_path)


def test_a_vocabulary_without_a_byte_is_refused(tmp_path: Path):
    state = copy.deepcopy(small())
    _without(state)
    with pytest.raises(VocabularyError, match=r"no token for 1 bytes .0x78 is one., and no unknown token"):
        rules_of(state, tmp_path)


def test_bytes_that_no_text_has_may_be_left_out(tmp_path: Path):
    state = copy.deepcopy(small())
    for byte in (0xC0, 0xC1, 0xF5, 0xFF):
        _without(state, LETTERS[byte])
    assert isinstance(rules_of(state, tmp_path), BpeSpec)


def test_merges_in_the_order_of_training():
    assert out_of_order([("a", "b"), ("ab", "c"), ("a", "bc")]) is None
    assert out_of_order([("ab", "c"), ("a", "b")]) == "ab"
    assert out_of_order([("a", "b"), ("ab", "c"), ("a", "b")]) == "ab"  # of equal merges the last counts


def test_reading_a_tokenizer_loads_no_tensorflow(tmp_path: Path):
    import subprocess
    import sys

    rules_of(small(), tmp_path)
    code = (
        "import sys; from pathlib import Path; from rawbert.exporter.sources.tokenizer_files import read_folder;"
        "read_folder(Path(sys.argv[1]), 'roberta'); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
