"""Hugging Face folders: their contents, and messages of refusals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from folders import DATA, edit, retensor, shard, tensors_of, tiny, use_vocabulary, vocabulary
from rawbert.exporter import CorruptSource, SourceNotFound, UnsupportedModel, VocabularyError, sources
from rawbert.exporter.tokenizers.spec import bert_template


def same_weights(one, other) -> bool:
    return set(one.weights) == set(other.weights) and all(
        np.array_equal(value, other.weights[name]) for name, value in one.weights.items()
    )


def test_a_folder_becomes_the_neutral_description(data: Path, checkpoint):
    tensors = tensors_of(data / "tiny_bert")
    weights = checkpoint.weights
    assert (checkpoint.kind, checkpoint.location) == ("huggingface", data / "tiny_bert")
    assert (checkpoint.max_seq_length, checkpoint.max_positions, checkpoint.hidden_size) == (64, 64, 32)
    assert checkpoint.pooling is None
    assert checkpoint.has_pooler
    bert = checkpoint.encoder
    assert (bert.vocab_size, bert.num_layers, bert.num_heads, bert.intermediate_size) == (99, 3, 4, 64)
    assert (bert.type_vocab_size, bert.activation, bert.layer_norm_eps) == (2, "gelu", 1e-12)
    assert len(weights) == 5 + 3 * 16 + 2
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(weights["embeddings/word"], tensors["embeddings.word_embeddings.weight"])
    inner = tensors["encoder.layer.2.intermediate.dense.weight"]
    np.testing.assert_array_equal(weights["layer_2/intermediate/kernel"], inner.T)
    gamma = tensors["encoder.layer.1.attention.output.LayerNorm.weight"]
    np.testing.assert_array_equal(weights["layer_1/attention/layer_norm/gamma"], gamma)


def test_the_tokenizers_rules_are_read(checkpoint):
    rules = checkpoint.tokenizer
    assert (rules.size, rules.pad_id, rules.template, rules.unk_token) == (99, 0, bert_template(2, 3), "[UNK]")
    assert (rules.vocab[76], rules.vocab[98]) == ("the", "##ς")
    assert (rules.lowercase, rules.strip_accents, rules.handle_chinese_chars, rules.clean_text) == (
        True, None, True, True,
    )  # fmt: skip
    assert {token.content for token in rules.added_tokens} == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}


def test_every_file_is_described_by_its_hash(data: Path, checkpoint):
    files = {file.path: file for file in checkpoint.files}
    assert set(files) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}
    for name, file in files.items():
        content = (data / "tiny_bert" / name).read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_relative_path_and_a_string_are_taken(data: Path, checkpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(data)
    loaded = sources.load("tiny_bert")
    assert loaded.location == data / "tiny_bert"
    assert same_weights(loaded, checkpoint)


def test_shards_are_put_together(tmp_path: Path, checkpoint):
    folder = tiny(tmp_path / "model")
    shard(folder)
    loaded = sources.load(folder)
    assert same_weights(loaded, checkpoint)
    assert len([file for file in loaded.files if file.path.startswith("model")]) == 3


def test_prefixed_and_old_names_mean_the_same(tmp_path: Path, checkpoint):
    def rename(tensors: dict) -> dict:
        old = {f"bert.{name}": value for name, value in tensors.items()}
        old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in old.items()}
        old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): value for name, value in old.items()}
        # Further tensors of a model for masked language modelling.
        extra = {"cls.predictions.bias": np.zeros(99, np.float32), "bert.embeddings.position_ids": np.arange(64)}
        return old | extra

    folder = tiny(tmp_path / "model")
    retensor(folder, rename)
    assert same_weights(sources.load(folder), checkpoint)


def test_half_precision_weights_are_read_as_float32(tmp_path: Path, checkpoint):
    folder = tiny(tmp_path / "model")
    retensor(folder, lambda tensors: {name: value.astype(np.float16) for name, value in tensors.items()})
    weights = sources.load(folder).weights
    for name, value in checkpoint.weights.items():
        assert weights[name].dtype == np.float32
        np.testing.assert_array_equal(weights[name], value.astype(np.float16))


def test_without_pooler_weights_there_is_no_pooler(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    retensor(folder, lambda tensors: {name: v for name, v in tensors.items() if not name.startswith("pooler")})
    loaded = sources.load(folder)
    assert not loaded.has_pooler
    assert "pooler/kernel" not in loaded.weights


@pytest.mark.parametrize(
    ("hidden_act", "activation"),
    [
        ("gelu", "gelu"),
        ("gelu_python", "gelu"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("relu", "relu"),
    ],
)
def test_activations_go_by_their_usual_names(tmp_path: Path, hidden_act: str, activation: str):
    assert sources.load(tiny(tmp_path / "model", hidden_act=hidden_act)).encoder.activation == activation


def test_vocab_txt_alone_is_enough(tmp_path: Path, checkpoint):
    folder = tiny(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    loaded = sources.load(folder)
    assert loaded.tokenizer == checkpoint.tokenizer


def test_a_special_token_that_the_vocabulary_lacks_and_needs_not_is_dropped(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    use_vocabulary(folder, ["zzz" if token == "[MASK]" else token for token in vocabulary(folder)])
    rules = sources.load(folder).tokenizer
    assert rules.size == 99
    assert rules.vocab[4] == "zzz"
    assert "[MASK]" not in {token.content for token in rules.added_tokens}


# Refusals.


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(SourceNotFound, match=r"nowhere: no such folder"):
        sources.load(tmp_path / "nowhere")


def test_a_file_is_not_a_folder(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceNotFound, match=r"file: a file, not a folder"):
        sources.load(tmp_path / "file")


def test_a_folder_that_is_no_model_is_refused_with_what_was_looked_for(tmp_path: Path):
    with pytest.raises(UnsupportedModel, match=r"config\.json.*modules\.json.*saved_model\.pb"):
        sources.load(tmp_path)


def write(name: str, content: str | bytes) -> Callable[[Path], None]:
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(raw) and None


def config(**changes) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", **changes)


def cut(name: str, keep: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep]) and None


def remove(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def with_value(name: str, value: float) -> Callable[[Path], None]:
    return lambda folder: retensor(folder, lambda tensors: tensors[name].__setitem__(0, value))


def without_tensor(name: str) -> Callable[[Path], None]:
    return lambda folder: retensor(folder, lambda tensors: {key: v for key, v in tensors.items() if key != name})


def other_tokenizer(**changes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        # Under its own class, transformers puts BERT's steps in place of those of the file.
        edit(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
        edit(folder / "tokenizer.json", **changes)

    return change


WORDS = {"type": "WordLevel", "vocab": {token: at for at, token in enumerate(vocabulary(DATA / "tiny_bert"))}}


BROKEN = {
    "config.json missing a value": (config(hidden_size=...), CorruptSource, "config.json: hidden_size is None"),
    "config.json with text for a number": (config(vocab_size="99"), CorruptSource, "vocab_size is '99'"),
    "config.json cut": (cut("config.json", 50), CorruptSource, "config.json: not readable as JSON"),
    "config.json not UTF-8": (write("config.json", b"\xff\xfe{}"), CorruptSource, "config.json: not readable as JSON"),
    "config.json a list": (write("config.json", "[]"), CorruptSource, "config.json: not a JSON object"),
    "epsilon a word": (config(layer_norm_eps="x"), CorruptSource, "layer_norm_eps is 'x'"),
    "heads that do not divide": (config(num_attention_heads=5), CorruptSource, "hidden_size 32 is not a multiple of"),
    "another family": (config(model_type="xlnet"), UnsupportedModel, "encoder family is 'xlnet'"),
    "no family": (
        config(model_type=..., architectures=["BorgModel"]), UnsupportedModel, r"None \(.*architectures: BorgModel\)"),
    "another activation": (config(hidden_act="swish"), UnsupportedModel, "hidden_act is 'swish'"),
    "an activation of another type": (config(hidden_act=["gelu"]), UnsupportedModel, "hidden_act is"),
    "relative positions": (config(position_embedding_type="relative_key"), UnsupportedModel, "'relative_key'"),
    "a decoder": (config(is_decoder=True), UnsupportedModel, "is_decoder"),
    "weights missing": (remove("model.safetensors"), CorruptSource, "expected one of model.safetensors, "),
    "weights cut": (cut("model.safetensors", -100), CorruptSource, "model.safetensors: not a readable safetensors"),
    "weights cut in the header": (cut("model.safetensors", 99), CorruptSource, "model.safetensors: not a readable"),
    "weights empty": (cut("model.safetensors", 0), CorruptSource, "model.safetensors: not a readable"),
    "a weight missing": (
        without_tensor("encoder.layer.1.output.dense.bias"), CorruptSource,
        r"model.safetensors: the tensor encoder.layer.1.output.dense.bias is missing.* with shape \[32\]"),
    "a layer too few": (
        config(num_hidden_layers=4), CorruptSource, "encoder.layer.3.attention.self.query.weight is missing"),
    "a layer too many": (
        config(num_hidden_layers=2), CorruptSource, "layer.2.attention.output.dense.weight exists, .* only 2"),
    "another width": (
        config(intermediate_size=63), CorruptSource,
        r"layer.0.intermediate.dense.weight has shape \[64, 32\], but config.json requires \[63, 32\]"),
    "another table size": (config(vocab_size=100), CorruptSource, r"word_embeddings.weight has shape \[99, 32\]"),
    "NaN": (with_value("pooler.dense.bias", np.nan), CorruptSource,
            r"pooler.dense.bias contains values that are not finite.* found nan at \[0\]"),
    "infinity": (with_value("pooler.dense.bias", np.inf), CorruptSource, "pooler.dense.bias contains .* found inf"),
    "no tokenizer": (remove("vocab.txt", "tokenizer.json"), CorruptSource, "neither tokenizer.json nor vocab.txt"),
    "tokenizer.json cut": (cut("tokenizer.json", 99), CorruptSource, "tokenizer.json: not readable as JSON"),
    "vocab.txt not UTF-8": (
        lambda folder: (use_vocabulary(folder, []), write("vocab.txt", b"\xff\n")(folder)), CorruptSource,
        "vocab.txt: not readable as UTF-8"),
    "a limit that is no number": (
        lambda folder: edit(folder / "tokenizer_config.json", model_max_length="x"), CorruptSource,
        "model_max_length is 'x'"),
    "another normaliser": (
        other_tokenizer(normalizer={"type": "NFKC"}), UnsupportedModel, "normalizer is NFKC, but only BertNormalizer"),
    "another pre-tokenizer": (
        other_tokenizer(pre_tokenizer={"type": "WhitespaceSplit"}), UnsupportedModel, "is WhitespaceSplit, but only"),
    "another tokenizer model": (
        other_tokenizer(model={**WORDS, "unk_token": "[UNK]"}), UnsupportedModel, "model is WordLevel, not WordPiece"),
    "another template": (
        other_tokenizer(post_processor={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                                        "use_regex": True}), UnsupportedModel, "post-processor is ByteLevel"),
    "no template": (
        other_tokenizer(post_processor=None), UnsupportedModel, "post-processor is .* and gives 'text' for a text"),
    "no words": (lambda folder: use_vocabulary(folder, []), VocabularyError, r"vocabulary has no \[CLS\]"),
    "a vocabulary of another model": (
        config(vocab_size=1123), CorruptSource, "word_embeddings.weight has shape"),
    "a word too many": (
        lambda folder: use_vocabulary(folder, [*vocabulary(folder), "more"]), VocabularyError, "100 tokens.* 99 rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_refused_by_name(tmp_path: Path, case: str):
    change, error, message = BROKEN[case]
    folder = tiny(tmp_path / "model")
    change(folder)
    with pytest.raises(error, match=message) as caught:
        sources.load(folder)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("token", ["[CLS]", "[SEP]", "[PAD]", "[UNK]"])
def test_a_vocabulary_without_a_special_token_is_refused(tmp_path: Path, token: str):
    folder = tiny(tmp_path / "model")
    use_vocabulary(folder, ["zzz" if each == token else each for each in vocabulary(folder)])
    with pytest.raises(VocabularyError, match=rf"vocabulary has no \[{token[1:-1]}\]"):
        sources.load(folder)


INDEX = "model.safetensors.index.json"
BROKEN_SHARDS = {
    "missing": (
        remove("model-00002-of-00002.safetensors"), "model-00002-of-00002.safetensors: the shard is missing; model"),
    "cut": (cut("model-00002-of-00002.safetensors", 50), "model-00002-of-00002.safetensors: not a readable"),
    "in another folder": (write(INDEX, '{"weight_map": {"a": "../b.safetensors"}}'), "'../b.safetensors' is outside"),
    "at the root": (write(INDEX, '{"weight_map": {"a": "/b.safetensors"}}'), "'/b.safetensors' is outside"),
    "of a cut index": (cut(INDEX, 40), "index.json: not readable as JSON"),
    "of no index": (write(INDEX, "{}"), "no weight_map"),
    "without a tensor": (
        lambda folder: edit(folder / INDEX, weight_map={
            **json.loads((folder / INDEX).read_text())["weight_map"], "more": "model-00001-of-00002.safetensors"}),
        "model-00001-of-00002.safetensors: the tensor more is missing; model.safetensors.index.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_SHARDS)
def test_a_broken_shard_is_refused_by_name(tmp_path: Path, case: str):
    change, message = BROKEN_SHARDS[case]
    folder = tiny(tmp_path / "model")
    shard(folder)
    change(folder)
    with pytest.raises(CorruptSource, match=message):
        sources.load(folder)


def test_the_test_data_is_whole():
    assert sources.load(DATA / "tiny_bert").tokenizer.vocab == tuple(vocabulary(DATA / "tiny_bert"))


@pytest.mark.parametrize(
    ("family", "architecture"),
    [
        ("bert", "BertForSequenceClassification"),
        ("distilbert", "DistilBertModel"),
        ("electra", "ElectraForPreTraining"),
    ],
)
def test_without_model_type_the_class_names_the_family(family: str, architecture: str):
    from rawbert.exporter.families import read_config
    from rawbert.exporter.proof.families import TWINS, twin_of

    path = DATA / f"tiny_{family}" / "config.json"
    config = json.loads(path.read_text())
    wanted = read_config(config, path)
    del config["model_type"]
    assert read_config(config | {"architectures": [architecture]}, path) == wanted
    assert twin_of({"architectures": [architecture]}) is TWINS[family]


def test_token_types_are_two_where_config_json_does_not_say(tmp_path: Path):
    assert sources.load(tiny(tmp_path / "model", type_vocab_size=...)).encoder.type_vocab_size == 2
