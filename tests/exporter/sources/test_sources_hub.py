"""Hub-format folders: hub_bert has the weights of tiny_bert, written by tf-models-official."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from folders import use_vocabulary, vocabulary
from hub_albert import unpack
from hub_folders import averaging, write_encoder
from rawbert.exporter import CorruptSource, SourceError, UnsupportedModel, VocabularyError, sources


@pytest.fixture(scope="module")
def loaded(data: Path):
    return sources.load(data / "hub_bert")


@pytest.fixture
def folder(data: Path, tmp_path: Path) -> Path:
    return shutil.copytree(data / "hub_bert", tmp_path / "model")


def test_the_encoder_is_described(data: Path, loaded):
    assert (loaded.kind, loaded.location) == ("hub", data / "hub_bert")
    assert (loaded.max_seq_length, loaded.max_positions, loaded.hidden_size) == (64, 64, 32)
    assert loaded.pooling is None
    assert loaded.notes == ()
    bert = loaded.encoder
    assert (bert.vocab_size, bert.hidden_size, bert.num_layers, bert.num_heads) == (99, 32, 3, 4)
    assert (bert.intermediate_size, bert.max_positions, bert.type_vocab_size) == (64, 64, 2)
    assert bert.activation is None  # a Hub encoder does not say
    assert {"saved_model.pb", "assets/vocab.txt", "variables/variables.index"} <= {file.path for file in loaded.files}


def test_weights_are_found_under_their_canonical_names(loaded, checkpoint):
    assert set(loaded.weights) == set(checkpoint.weights)
    for name, value in checkpoint.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], value, err_msg=name)


def test_the_tokenizers_rules_are_those_of_its_vocabulary(loaded, checkpoint):
    assert loaded.tokenizer == checkpoint.tokenizer


def test_auto_and_native_rebuild_it_with_the_activation_that_gives_its_outputs(loaded):
    from rawbert.exporter.graph import savedmodel

    for impl in ("auto", "native"):
        name, encoder = savedmodel.choose_encoder(loaded, impl)
        assert name == "native"
        assert encoder._config.activation == "gelu_tanh"
    assert savedmodel.choose_encoder(loaded, "hub")[0] == "hub"


def test_an_encoder_that_is_no_bert_is_taken_as_a_black_box_only(data: Path, tmp_path: Path):
    from rawbert.exporter.graph import savedmodel

    table = np.random.default_rng(0).normal(size=(99, 8)).astype(np.float32)
    folder = write_encoder(tmp_path / "model", averaging, data / "tiny_bert" / "vocab.txt", table=table)
    loaded = sources.load(folder)
    assert loaded.encoder is None
    assert (loaded.hidden_size, loaded.max_positions, loaded.max_seq_length) == (8, None, 128)
    (note,) = loaded.notes
    assert "128 tokens" in note
    assert savedmodel.choose_encoder(loaded, "auto")[0] == "hub"
    with pytest.raises(UnsupportedModel, match="not those of a plain BERT"):
        savedmodel.choose_encoder(loaded, "native")


def test_weights_that_give_other_outputs_than_the_layer_are_not_rebuilt(loaded):
    import dataclasses

    from rawbert.exporter.graph import savedmodel

    weights = {**loaded.weights, "pooler/bias": loaded.weights["pooler/bias"] + 1}
    changed = dataclasses.replace(loaded, weights=weights)
    assert savedmodel.choose_encoder(changed, "auto")[0] == "hub"
    with pytest.raises(UnsupportedModel, match="use --encoder-impl hub"):
        savedmodel.choose_encoder(changed, "native")


def test_a_savedmodel_without_a_vocabulary_is_refused(tmp_path: Path):
    folder = write_encoder(tmp_path / "model", averaging, table=np.zeros((99, 8), np.float32))
    with pytest.raises(UnsupportedModel, match=r"a vocab_file .WordPiece. or an sp_model_file"):
        sources.load(folder)


def test_a_savedmodel_that_cannot_be_called_is_refused(data: Path, tmp_path: Path):
    folder = write_encoder(tmp_path / "model", vocab=data / "tiny_bert" / "vocab.txt")
    with pytest.raises(UnsupportedModel, match=str(folder)):
        sources.load(folder)


def test_an_encoder_of_another_api_is_refused(data: Path, tmp_path: Path):
    def call(module):
        return lambda inputs: {"embedding": inputs["input_word_ids"]}

    folder = write_encoder(tmp_path / "model", call, data / "tiny_bert" / "vocab.txt")
    with pytest.raises(UnsupportedModel, match="returns embedding; expected pooled_output and sequence_output"):
        sources.load(folder)


def test_a_preprocessing_model_is_refused(tmp_path: Path):
    import tensorflow as tf

    module = tf.Module()
    module.__call__ = tf.function(tf.strings.lower, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path / "model"))
    with pytest.raises(UnsupportedModel, match=str(tmp_path)):
        sources.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("file", "keep"),
    [
        ("saved_model.pb", 1000),
        ("variables/variables.index", 20),
        ("variables/variables.data-00000-of-00001", 100),
    ],
)
def test_a_cut_file_is_refused(folder: Path, file: str, keep: int):
    (folder / file).write_bytes((folder / file).read_bytes()[:keep])
    with pytest.raises(CorruptSource, match=str(folder)):
        sources.load(folder)


def test_a_file_of_keras_that_a_hub_encoder_has_is_not_looked_at(folder: Path):
    (folder / "keras_metadata.pb").write_bytes(b"of another release")
    assert sources.load(folder).kind == "hub"


def test_an_empty_file_is_refused(folder: Path):
    (folder / "saved_model.pb").write_bytes(b"")
    with pytest.raises(SourceError, match=str(folder)):
        sources.load(folder)


@pytest.mark.parametrize("gone", ["variables", "assets/vocab.txt"])
def test_missing_files_are_refused(folder: Path, gone: str):
    path = folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(CorruptSource, match=str(folder)):
        sources.load(folder)


def test_a_vocabulary_of_another_size_than_the_table_is_refused(folder: Path):
    tokens = vocabulary(folder / "assets")
    use_vocabulary(folder / "assets", [*tokens, "more"])
    with pytest.raises(VocabularyError, match="100 tokens, but the embedding table has 99 rows"):
        sources.load(folder)
    use_vocabulary(folder / "assets", tokens[:-1])
    assert any("99 rows, but the vocabulary 98 tokens" in note for note in sources.load(folder).notes)


def test_a_vocabulary_without_cls_is_refused(folder: Path):
    use_vocabulary(folder / "assets", [token.replace("[CLS]", "zzz") for token in vocabulary(folder / "assets")])
    with pytest.raises(VocabularyError, match=r"no \[CLS\]"):
        sources.load(folder)


@pytest.mark.parametrize("cased", [False, True])
def test_an_encoder_that_does_not_say_its_case_goes_by_its_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cased: bool
):
    import tensorflow_hub
    from rawbert.exporter.proof import reference
    from rawbert.exporter.sources import hub

    layer_of = tensorflow_hub.KerasLayer

    def silent(*args, **settings):
        layer = layer_of(*args, **settings)
        del layer.resolved_object.do_lower_case
        return layer

    monkeypatch.setattr(tensorflow_hub, "KerasLayer", silent)
    words = vocabulary(folder / "assets")
    if cased:
        use_vocabulary(folder / "assets", [*words[:76], *(word.title() for word in words[76:88]), *words[88:]])
    loaded = hub.read(folder)
    assert loaded.tokenizer.lowercase is not cased
    assert any("capitals" in note for note in loaded.notes)
    ids = reference.HubReference(folder, 64).tokenize("The CAT").ids
    assert ids == ([2, 76, 1, 3] if cased else [2, 76, 77, 3])


@pytest.fixture(scope="module")
def albert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("hub_albert")) / "encoder"


def test_an_albert_is_described_and_rebuilt(albert: Path):
    from rawbert.exporter.graph import savedmodel

    loaded = sources.load(albert)
    assert (loaded.kind, loaded.max_seq_length, loaded.hidden_size, loaded.notes) == ("hub", 48, 32, ())
    assert (loaded.encoder.num_layers, loaded.encoder.layer_groups, loaded.encoder.embedding_size) == (3, 1, 16)
    spec = loaded.tokenizer
    assert (spec.kind, spec.size, spec.pad_id, spec.unk_id, spec.lowercase) == ("sentencepiece", 185, 0, 1, True)
    assert spec.vocab[:5] == ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
    assert [piece.special for piece in spec.template.single] == [2, None, 3]
    name, encoder = savedmodel.choose_encoder(loaded, "auto")
    assert (name, encoder.config.activation) == ("native", "gelu_tanh")


def test_a_sentencepiece_model_that_is_damaged_or_of_another_kind_is_refused(tmp_path: Path, albert: Path):
    from rawbert.exporter.sources.sentencepiece import read_hub_model

    model = (albert / "assets" / "30k-clean.model").read_bytes()
    path = tmp_path / "spiece.model"
    with pytest.raises(CorruptSource, match=f"{path}: missing; copy the Hub encoder's folder"):
        read_hub_model(path, True)
    for damaged in (b"", b"no model", model[:1000]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptSource, match=f"{path}: not readable as a SentencePiece model"):
            read_hub_model(path, True)
    path.write_bytes(model.replace(b"[CLS]", b"[XXX]"))
    with pytest.raises(VocabularyError, match=r"no \[CLS\], which ALBERT needs"):
        read_hub_model(path, True)


def test_googles_own_albert_is_refused_with_what_to_take(tmp_path: Path):
    for name in ("albert_config.json", "30k-clean.model", "model.ckpt-best.index"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(UnsupportedModel, match=r"albert_config.json: .*albert/albert-base-v2.*albert_en_base"):
        sources.load(tmp_path)
