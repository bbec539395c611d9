"""tokenizer.json is followed where the graph can, and refused by part where it cannot; vocab.txt in all its
states."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folders import DATA, edit, retensor, tiny, use_vocabulary, vocabulary
from formats import unpack
from rawbert.exporter import CorruptSource, UnsupportedModel, VocabularyError, sources
from rawbert.exporter.proof import samples
from rawbert.exporter.proof.reference import FolderReference
from rawbert.exporter.recipe import TokenizerOptions
from rawbert.exporter.sources.tokenizer_files import read_folder
from tokens import run

TEXTS = [
    *(text for text in samples.TEXTS if isinstance(text, str)),
    "The cat\u0301 sat on Hello, world 12 unwanted running", "x\u00ady\u200bz\x07 caf\u00e9 \u4e2d\u56fd\u4eba",
    "unableunable unablerunning", "Apple APPLE apple \u03a3\u03a3 \u00df",
]  # fmt: skip


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("formats"))


def change(folder: Path, part: str, value: Any) -> None:
    """Set a part of tokenizer.json, or keys of it."""
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    state[part] = {**state[part], **value} if isinstance(value, dict) and "type" not in value else value
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")


def prefix(folder: Path) -> None:
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = {word.replace("##", "@@"): at for word, at in state["model"]["vocab"].items()}
    change(folder, "model", {"continuing_subword_prefix": "@@", "vocab": vocab})


def template(pair: str, single: str = "[CLS] A [SEP]") -> dict[str, Any]:
    def pieces(text: str) -> list[dict[str, Any]]:
        made = []
        for each in text.split():
            name, _, kind = each.partition(":")
            key = "Sequence" if name in "AB" else "SpecialToken"
            made.append({key: {"id": name, "type_id": int(kind or 0)}})
        return made

    tokens = {name: {"id": name, "ids": [at], "tokens": [name]} for name, at in (("[CLS]", 2), ("[SEP]", 3))}
    return {"type": "TemplateProcessing", "single": pieces(single), "pair": pieces(pair), "special_tokens": tokens}


FOLLOWED: dict[str, Callable[[Path], None]] = {
    "as it is": lambda folder: None,
    "no clean-up": lambda folder: change(folder, "normalizer", {"clean_text": False}),
    "case is kept": lambda folder: change(folder, "normalizer", {"lowercase": False}),
    "accents go": lambda folder: change(folder, "normalizer", {"lowercase": False, "strip_accents": True}),
    "accents stay": lambda folder: change(folder, "normalizer", {"strip_accents": False}),
    "Chinese characters stay together": lambda folder: change(folder, "normalizer", {"handle_chinese_chars": False}),
    "no normaliser": lambda folder: change(folder, "normalizer", None),
    "lower case alone": lambda folder: change(folder, "normalizer", {"type": "Lowercase"}),
    "lower case after": lambda folder: change(folder, "normalizer", {"type": "Sequence", "normalizers": [
        {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
         "lowercase": False}, {"type": "Lowercase"}]}),
    "a sequence of one": lambda folder: change(
        folder, "pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}]}),
    "another prefix": prefix,
    "short words": lambda folder: change(folder, "model", {"max_input_chars_per_word": 5}),
    "long words": lambda folder: change(folder, "model", {"max_input_chars_per_word": 1000}),
    "another unknown": lambda folder: change(folder, "model", {"unk_token": "[MASK]"}),
    "no special token is marked": lambda folder: change(folder, "added_tokens", []),
    "a token of its own": lambda folder: change(folder, "added_tokens", [
        {"id": 77, "content": "cat", "special": False, "single_word": True, "lstrip": True, "rstrip": False,
         "normalized": False}]),
    "a template with two at the end": lambda folder: change(
        folder, "post_processor", template("[CLS] A [SEP] B:1 [SEP]:1", "[CLS] A [SEP] [SEP]")),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLLOWED)
def test_a_tokenizer_json_is_followed(tmp_path: Path, tokenizer_of, case: str):
    from tokenizers import Tokenizer

    folder = tiny(tmp_path / "model")
    FOLLOWED[case](folder)
    spec = sources.load(folder).tokenizer
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    own.no_truncation()
    own.no_padding()
    reference = FolderReference(folder, 10**6).tokenize
    for text, (ids, starts, limits, count) in zip(TEXTS, run(tokenizer_of(spec, 10**6), TEXTS), strict=True):
        assert ids == own.encode(text).ids, ascii(text)
        wanted = reference(text)
        assert (ids, starts, limits, count) == (wanted.ids, wanted.starts, wanted.limits, wanted.count), ascii(text)


PAIRS = {
    "BERT's": ("[CLS] A [SEP] B:1 [SEP]:1", [0, 0, 0, 1, 1]),
    "no types": ("[CLS] A [SEP] B [SEP]", [0, 0, 0, 0, 0]),
    "the last one has none": ("[CLS] A [SEP] B:1 [SEP]", [0, 0, 0, 1, 0]),
    "two between": ("[CLS] A [SEP] [SEP] B:1 [SEP]", [0, 0, 0, 0, 1, 0]),
    "nothing between": ("[CLS] A B:1", [0, 0, 1]),
}


@pytest.mark.parametrize("case", PAIRS)
def test_a_template_of_pairs_is_followed(tmp_path: Path, case: str):
    import tensorflow as tf
    from rawbert.exporter.tokenizers.tokenizer import Tokenizer

    pair, types = PAIRS[case]
    folder = tiny(tmp_path / "model")
    change(folder, "post_processor", template(pair))
    options = TokenizerOptions(pair=True)
    graph = Tokenizer(sources.load(folder).tokenizer, 64, options)
    wanted = FolderReference(folder, 64, options).tokenize("cat", "dog")
    encoding = graph(tf.constant(["cat"]), tf.constant(["dog"]))
    assert wanted.types == types
    assert (encoding.input_word_ids[0].numpy().tolist(), encoding.input_type_ids[0].numpy().tolist()) == (
        wanted.ids, types,
    )  # fmt: skip


def test_a_tokenizer_that_gives_no_types_lets_them_be_0(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    edit(folder / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
    assert {piece.type for piece in sources.load(folder).tokenizer.template.pair} == {0}
    assert FolderReference(folder, 64, TokenizerOptions(pair=True)).tokenize("cat", "dog").types == [0] * 5


DIGITS = {"type": "Digits", "individual_digits": True}
REFUSED: dict[str, tuple[str, Any, str]] = {
    "digits one by one": ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [
        DIGITS, {"type": "BertPreTokenizer"}]}, "pre-tokenizer is Digits and BertPreTokenizer"),
    "white space alone": ("pre_tokenizer", {"type": "WhitespaceSplit"}, "pre-tokenizer is WhitespaceSplit"),
    "no pre-tokenizer": ("pre_tokenizer", None, "pre-tokenizer is none"),
    "compatibility forms": ("normalizer", {"type": "NFKC"}, "normalizer is NFKC"),
    "compatibility forms first": ("normalizer", {"type": "Sequence", "normalizers": [
        {"type": "NFKC"}, {"type": "Lowercase"}]}, "normalizer is NFKC and Lowercase"),
    "replaced text": ("normalizer", {"type": "Replace", "pattern": {"String": "a"}, "content": "b"}, "is Replace"),
    "an unknown setting of the normaliser": ("normalizer", {"fold": True}, "fold is unknown"),
    "an unknown setting of the model": ("model", {"smoothing": 0.1}, "smoothing is unknown"),
    "an unknown part": ("cache", {"type": 1}, "cache is unknown"),
    "an empty prefix": ("model", {"continuing_subword_prefix": ""}, "continuing_subword_prefix is empty"),
    "an unknown that is no word": ("model", {"unk_token": "<unk>"}, "no <unk>"),
    "a template without a first token": ("post_processor", template("A B:1", "A [SEP]"), "gives 'text \\[SEP\\]'"),
    "a second type in one text": ("post_processor", template("A B:1", "[CLS] A:1 [SEP]"), "of token type 0"),
    "two texts the other way round": ("post_processor", template("[CLS] B A"), "post-processor is TemplateProcessing"),
    "padding on the left": ("padding", {"type": 0, "strategy": "BatchLongest", "direction": "Left",
                            "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}, "left"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_tokenizer_json_that_cannot_be_followed_is_refused_by_its_part(tmp_path: Path, case: str):
    part, value, message = REFUSED[case]
    folder = tiny(tmp_path / "model")
    if part in ("cache", "padding"):
        value = {key: each for key, each in value.items() if key != "type"}
        edit(folder / "tokenizer.json", **{part: value})
    else:
        change(folder, part, value)
    with pytest.raises((UnsupportedModel, VocabularyError), match=rf"tokenizer\.json: .*{message}"):
        sources.load(folder)


def test_the_limits_of_a_tokenizer_json_do_not_count_and_its_side_does(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    cut = {"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    pad = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
           "pad_token": "[PAD]"}  # fmt: skip
    edit(folder / "tokenizer.json", truncation=cut, padding=pad)
    loaded = sources.load(folder)
    assert (loaded.max_seq_length, loaded.tokenizer.truncation_side) == (64, "left")
    assert FolderReference(folder, 4).tokenize("the cat dog").ids == [2, 77, 78, 3]
    edit(folder / "tokenizer_config.json", truncation_side="right")
    assert sources.load(folder).tokenizer.truncation_side == "right"
    assert FolderReference(folder, 4).tokenize("the cat dog").ids == [2, 76, 77, 3]


def test_what_the_settings_beside_a_tokenizer_json_say_otherwise_is_noted(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    edit(folder / "tokenizer_config.json", do_lower_case=False)
    loaded = sources.load(folder)
    assert loaded.tokenizer.lowercase
    assert any("tokenizer.json has precedence" in note and "do_lower_case" in note for note in loaded.notes)


def test_a_token_that_other_files_add_is_refused(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    (folder / "added_tokens.json").write_text('{"<e1>": 99}')
    with pytest.raises(UnsupportedModel, match=r"the token '<e1>' .* is missing"):
        sources.load(folder)


def test_tokens_without_names_are_those_of_the_file(tmp_path: Path, checkpoint):
    folder = tiny(tmp_path / "model")
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert sources.load(folder).tokenizer == checkpoint.tokenizer
    assert FolderReference(folder, 64).tokenize("the cat").ids == [2, 76, 77, 3]


def test_a_japanese_tokenizer_is_named_for_what_it_is(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    edit(folder / "tokenizer_config.json", tokenizer_class="BertJapaneseTokenizer", word_tokenizer_type="mecab")
    with pytest.raises(UnsupportedModel, match="splits Japanese texts into words") as caught:
        sources.load(folder)
    assert "fugashi" not in str(caught.value)
    edit(folder / "tokenizer_config.json", tokenizer_class=...)
    with pytest.raises(UnsupportedModel, match=r"word_tokenizer_type is 'mecab'.*Japanese"):
        sources.load(folder)


# vocab.txt.


def test_a_table_longer_than_the_vocabulary_is_exported_with_a_note(tmp_path: Path):
    import numpy as np

    folder = tiny(tmp_path / "model", vocab_size=128)
    name = "embeddings.word_embeddings.weight"
    retensor(folder, lambda t: t.update({name: np.concatenate([t[name], np.ones((29, 32), np.float32)])}))
    loaded = sources.load(folder)
    assert any("128 rows, but the vocabulary 99 tokens" in note for note in loaded.notes)
    assert FolderReference(folder, 64).rows == 128
    retensor(folder, lambda t: t.update({name: np.ones((2000, 32), np.float32)}))
    edit(folder / "config.json", vocab_size=2000)
    with pytest.raises(VocabularyError, match="99 tokens, but the embedding table has 2000 rows"):
        sources.load(folder)


@pytest.mark.parametrize("kind", ["hf", "google"])
def test_blank_and_doubled_lines_and_a_mark_are_read(formats: Path, tmp_path: Path, tokenizer_of, kind: str):
    folder = shutil.copytree(formats / "google", tmp_path / "model") if kind == "google" else tiny(tmp_path / "model")
    words = vocabulary(folder)
    words[10], words[11] = "", "cat"  # f is blank, g is a cat that comes before the other one
    use_vocabulary(folder, ["\ufeff" + words[0], *words[1:], ""])
    for name in ("tokenizer_config.json", "config.json", "bert_config.json"):
        if (folder / name).is_file():
            (folder / name).write_text("\ufeff" + (folder / name).read_text())
    loaded = sources.load(folder)
    assert any("'' in line 11, 'cat' in line 12" in note for note in loaded.notes)
    assert (loaded.tokenizer.size, loaded.tokenizer.vocab[0], loaded.tokenizer.vocab[11]) == (99, "[PAD]", None)
    reference = FolderReference(folder, 64).tokenize
    texts = ["the cat", "f g", "fg cat", "catg"]
    for text, (ids, *_) in zip(texts, run(tokenizer_of(loaded.tokenizer, 64), texts), strict=True):
        assert ids == reference(text).ids, text
    assert reference("the cat").ids == [2, 76, 77, 3]


def test_a_tokenizer_json_with_a_mark_is_read(tmp_path: Path, checkpoint):
    folder = tiny(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (folder / name).write_text("\ufeff" + (folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    assert sources.load(folder).tokenizer == checkpoint.tokenizer
    assert FolderReference(folder, 64).tokenize("the cat").ids == [2, 76, 77, 3]


@pytest.mark.parametrize("words", [["<S>", "<T>"], ["Apple"], ["[unused1]", "NASA"]])
def test_a_few_capitals_do_not_make_a_vocabulary_cased(formats: Path, tmp_path: Path, words: list[str]):
    folder = shutil.copytree(formats / "google", tmp_path / "model")
    own = vocabulary(folder)
    own[86 : 86 + len(words)] = words
    use_vocabulary(folder, own)
    loaded = sources.load(folder)
    assert loaded.tokenizer.lowercase
    assert FolderReference(folder, 64).tokenize("The CAT").ids == [2, 76, 77, 3]


def test_googles_layout_obeys_the_settings_beside_it(formats: Path, tmp_path: Path, tokenizer_of):
    folder = shutil.copytree(formats / "google", tmp_path / "model")
    settings = {"strip_accents": False, "tokenize_chinese_chars": False, "model_max_length": 32}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    loaded = sources.load(folder)
    spec = loaded.tokenizer
    assert (spec.strip_accents, spec.handle_chinese_chars, loaded.max_seq_length) == (False, False, 32)
    reference = FolderReference(folder, 64).tokenize
    texts = ["caf\u00e9 \u4e2d\u56fd", "the \u4e2dcat"]
    for text, (ids, *_) in zip(texts, run(tokenizer_of(spec, 64), texts), strict=True):
        assert ids == reference(text).ids, text
    shutil.copy(DATA / "tiny_bert" / "tokenizer.json", folder)
    change(folder, "normalizer", {"lowercase": False})
    assert not sources.load(folder).tokenizer.lowercase
    assert FolderReference(folder, 64).tokenize("The").ids == [2, 1, 3]


@pytest.mark.parametrize(
    ("key", "value"), [("clean_text", False), ("wordpieces_prefix", "@@"), ("never_split", ["cat"])]
)
def test_what_no_loader_of_a_vocab_txt_follows_is_refused(tmp_path: Path, key: str, value: object):
    folder = tiny(tmp_path / "model")
    edit(folder / "tokenizer_config.json", **{key: value})
    sources.load(folder)  # tokenizer.json says it
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModel, match=f"{key} is"):
        sources.load(folder)


def test_a_wrong_type_is_named(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    edit(folder / "tokenizer_config.json", do_lower_case="yes")
    with pytest.raises(CorruptSource, match="do_lower_case is 'yes', not true or false"):
        sources.load(folder)


def test_a_cased_vocabulary_that_is_read_as_lower_case_is_noted(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    words = vocabulary(folder)
    use_vocabulary(folder, [*words[:76], *(word.title() for word in words[76:88]), *words[88:]])
    (note,) = (note for note in sources.load(folder).notes if "capitals" in note)
    assert "lower-cased" in note


def test_special_tokens_map_may_have_objects_beside_a_vocabulary(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    mask = {"content": "[MASK]", "lstrip": True, "normalized": False, "rstrip": False, "single_word": False}
    (folder / "special_tokens_map.json").write_text(json.dumps({"mask_token": mask, "cls_token": "[CLS]"}))
    (token,) = (token for token in sources.load(folder).tokenizer.added_tokens if token.content == "[MASK]")
    assert token.lstrip
    assert FolderReference(folder, 64).tokenize("cat  [MASK]").starts == [-1, 0, 3, -1]


@pytest.mark.parametrize("name", ["sentencepiece.bpe.model", "spiece.model", "spm.model"])
def test_a_file_that_is_no_sentencepiece_model_is_refused(tmp_path: Path, name: str):
    for content, reason in ((b"", "it has no pieces"), (b"\xff\xff", "not readable as a SentencePiece model")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorruptSource, match=rf"{name}: .*{reason}"):
            read_folder(tmp_path, "xlm-roberta")
