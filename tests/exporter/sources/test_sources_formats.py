"""Files of official tools in every weight format give the same weights as safetensors."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from folders import DATA, edit, retensor, tensors_of, tiny
from formats import relative, unpack, write_bin
from rawbert.exporter import CorruptSource, UnsupportedModel, sources
from rawbert.exporter.proof.families import bert
from rawbert.exporter.proof.reference import FolderReference, HubReference

IDS = [2, 76, 77, 60, 12, 3]


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("formats"))


def assert_same_weights(one, other) -> None:
    assert set(one.weights) == set(other.weights)
    for name in other.weights:
        assert one.weights[name].dtype == np.float32
        np.testing.assert_array_equal(one.weights[name], other.weights[name], err_msg=name)


KINDS = {"bin": "huggingface", "bin-legacy": "huggingface", "h5": "huggingface", "google": "google",
         "tf-models": "tf-models", "hub-v1": "hub"}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_format_gives_the_same_description(formats: Path, checkpoint, name: str):
    loaded = sources.load(formats / name)
    assert loaded.kind == KINDS[name]
    assert_same_weights(loaded, checkpoint)
    assert loaded.tokenizer == checkpoint.tokenizer
    ignored = {"activation", "layer_norm_eps"} if name == "hub-v1" else set()
    wanted, got = dataclasses.asdict(checkpoint.encoder), dataclasses.asdict(loaded.encoder)
    assert {key for key in wanted if wanted[key] != got[key]} <= ignored
    assert loaded.max_seq_length == 64
    assert {file.path for file in loaded.files} >= {
        path.name for path in (formats / name).iterdir() if path.suffix in (".bin", ".h5", ".index", ".txt")
    }


@pytest.mark.parametrize("name", ["bin", "bin-legacy", "h5", "google", "tf-models"])
def test_the_reference_reads_a_format_by_itself(formats: Path, name: str):
    wanted = FolderReference(DATA / "tiny_bert", 64)(IDS)
    got = FolderReference(formats / name, 64)(IDS)
    assert set(got) == set(wanted)
    for key, value in wanted.items():
        np.testing.assert_allclose(got[key], value, rtol=0, atol=1e-12)


def test_a_hub_encoder_of_version_1_takes_a_list_and_gives_a_pair(formats: Path):
    from rawbert.exporter.graph import savedmodel

    loaded = sources.load(formats / "hub-v1")
    name, native = savedmodel.choose_encoder(loaded, "auto")
    assert (name, native._config.activation) == ("native", "gelu")
    name, wrapped = savedmodel.choose_encoder(loaded, "hub")
    assert name == "hub"
    wanted = FolderReference(DATA / "tiny_bert", 64)(IDS)
    reference = HubReference(formats / "hub-v1", 64)(IDS)
    ids = np.array([IDS], np.int32)
    for encoder in (native, wrapped):
        sequence, pooled = encoder(ids, np.ones_like(ids))
        np.testing.assert_allclose(sequence[0], wanted["sequence_output"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(pooled[0], wanted["pooled_output"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(reference["sequence_output"], wanted["sequence_output"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(reference["pooled_output"], wanted["pooled_output"], rtol=0, atol=1e-5)


def test_a_module_of_tensorflow_1_is_refused_with_what_to_do(formats: Path, tmp_path: Path):
    folder = shutil.copytree(formats / "hub-v1", tmp_path / "module")
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
    with pytest.raises(UnsupportedModel, match=r"found tfhub_module\.pb.* take version 2 or later"):
        sources.load(folder)


# The activation in bert_config.json.


@pytest.mark.parametrize(
    ("name", "changes", "activation", "note"),
    [
        ("google", {}, "gelu", "read as the exact GELU"),
        ("google", {"hidden_act": "gelu_new"}, "gelu_tanh", None),
        ("google", {"model_type": "bert"}, "gelu", None),
        ("tf-models", {"hidden_act": "gelu"}, "gelu_tanh", "read as the tanh approximation"),
        ("tf-models", {"hidden_act": "gelu", "model_type": "bert"}, "gelu", None),
    ],
)
def test_gelu_is_what_the_library_of_the_format_means_by_it(
    formats: Path, tmp_path: Path, name: str, changes: dict, activation: str, note: str | None
):
    folder = shutil.copytree(formats / name, tmp_path / "model")
    edit(folder / "bert_config.json", **changes)
    loaded = sources.load(folder)
    assert loaded.encoder.activation == activation
    notes = [line for line in loaded.notes if "gelu" in line]
    assert (len(notes) == 1 and note in notes[0]) if note else notes == []
    wanted = bert.forward(
        tensors_of(DATA / "tiny_bert"),
        json.loads((DATA / "tiny_bert" / "config.json").read_text())
        | {"hidden_act": {"gelu": "gelu", "gelu_tanh": "gelu_new"}[activation]},
        np.array(IDS),
    )
    got = FolderReference(folder, 64)(IDS)
    np.testing.assert_allclose(got["sequence_output"], wanted["sequence_output"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("capitals", "settings", "lowercase", "first"),
    [(False, None, True, 76), (True, None, False, 76), (True, True, True, 24), (False, False, False, 1)],
)
def test_the_vocabulary_tells_whether_texts_are_lower_cased(
    formats: Path, tmp_path: Path, capitals: bool, settings: bool | None, lowercase: bool, first: int
):
    folder = shutil.copytree(formats / "google", tmp_path / "model")
    if capitals:
        words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        words[76:88] = [word.title() for word in words[76:88]]
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": settings}))
    loaded = sources.load(folder)
    assert loaded.tokenizer.lowercase is lowercase
    assert any("capitals" in note for note in loaded.notes) is (settings is None or (capitals and lowercase))
    assert FolderReference(folder, 64).tokenize("The").ids[1] == first


@pytest.mark.parametrize("prefix", ["", "bert_encoder/"])
def test_a_training_checkpoint_with_its_optimizer_and_config_json_is_read(
    formats: Path, tmp_path: Path, checkpoint, prefix: str
):
    import tensorflow as tf
    from rawbert.exporter.sources.files import tf_checkpoint

    folder = tiny(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    tensors, _ = tf_checkpoint.read(formats / "tf-models" / "bert_model.ckpt-1")
    kept = {name: tensor.read() for name, tensor in tensors.items() if name.partition("/")[0] != "save_counter"}
    named = {f"{prefix}{name}": value for name, value in kept.items()}
    slots = {f"Adam/{slot}/{name}": np.zeros_like(value) for slot in "mv" for name, value in named.items()}
    variables = [tf.Variable(value, name=name) for name, value in (slots | named).items()]
    tf.train.Checkpoint(variables=variables).save(str(folder / "ckpt"))
    loaded = sources.load(folder)
    assert loaded.kind == "huggingface"
    assert_same_weights(loaded, checkpoint)
    got, wanted = FolderReference(folder, 64)(IDS), FolderReference(DATA / "tiny_bert", 64)(IDS)
    np.testing.assert_allclose(got["sequence_output"], wanted["sequence_output"], rtol=0, atol=1e-12)


# PyTorch's files with features that the official ones lack.


def test_shards_of_pytorch_are_put_together(tmp_path: Path, checkpoint):
    folder = tiny(tmp_path / "model")
    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for file, chosen in parts.items():
        write_bin(folder / file, {name: tensors[name] for name in chosen})
    weight_map = {name: file for file, chosen in parts.items() for name in chosen}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_same_weights(sources.load(folder), checkpoint)
    got, wanted = FolderReference(folder, 64)(IDS), FolderReference(DATA / "tiny_bert", 64)(IDS)
    np.testing.assert_array_equal(got["sequence_output"], wanted["sequence_output"])


def test_bfloat16_is_read_as_float32(tmp_path: Path, checkpoint):
    import ml_dtypes
    from safetensors.numpy import save_file

    folder = tiny(tmp_path / "model")
    tensors = {name: value.astype(ml_dtypes.bfloat16) for name, value in tensors_of(folder).items()}
    save_file(tensors, folder / "model.safetensors")
    weights = sources.load(folder).weights
    for name, value in checkpoint.weights.items():
        np.testing.assert_array_equal(weights[name], value.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert FolderReference(folder, 64)(IDS)["sequence_output"].shape == (len(IDS), 32)


@pytest.mark.parametrize("prefix", ["bert.", "module.bert.", "0.auto_model.", "model."])
def test_any_prefix_is_taken(tmp_path: Path, checkpoint, prefix: str):
    folder = tiny(tmp_path / "model")
    retensor(folder, lambda tensors: {prefix + name: value for name, value in tensors.items()})
    assert_same_weights(sources.load(folder), checkpoint)


def test_two_encoders_in_one_file_are_refused(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    retensor(folder, lambda t: {f"{side}.{name}": value for side in ("query", "document") for name, value in t.items()})
    with pytest.raises(UnsupportedModel, match=r"several, with the prefixes document\., query\."):
        sources.load(folder)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class Builtin(Evil):
    def __reduce__(self):
        return eval, (f"__import__('pathlib').Path({str(self.path)!r}).touch()",)


def in_a_zip(path: Path, pickled: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)


def in_a_legacy_file(path: Path, pickled: bytes) -> None:
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join([*head, pickled, pickle.dumps([], 2)]))


def as_the_magic_number(path: Path, pickled: bytes) -> None:
    path.write_bytes(pickled)


@pytest.mark.parametrize("evil", [Evil, Builtin])
@pytest.mark.parametrize("write", [in_a_zip, in_a_legacy_file, as_the_magic_number])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused_and_nothing_is_run(tmp_path: Path, evil, write, protocol: int):
    folder = tiny(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    trace = tmp_path / "it ran"
    pickled = pickle.dumps({"embeddings.word_embeddings.weight": evil(trace)}, protocol)
    pickle.loads(pickled)
    assert trace.exists()  # or the test would say nothing
    trace.unlink()
    write(folder / "pytorch_model.bin", pickled)
    with pytest.raises(UnsupportedModel, match=r"pytorch_model\.bin: the pickle in it names .*Nothing of it was run"):
        sources.load(folder)
    assert not trace.exists()


#: Pickles that call only what is allowed, but not as a tensor needs it. torch._utils._rebuild_tensor_v2 is T.
TRICKS = {
    "attributes of what rebuilds a tensor": b"\x80\x02T(X\x04\x00\x00\x00nameX\x01\x00\x00\x00xd\x86b.",
    "a tensor over no storage": b"\x80\x02TK\x01K\x00K\x01\x85K\x01\x85\x89Nt\x85R.",
    "lists without end": b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".",
    "a list for a dict": b"\x80\x02].",
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_a_pickle_that_plays_tricks_is_refused(tmp_path: Path, trick: str):
    folder = tiny(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    in_a_zip(folder / "pytorch_model.bin", TRICKS[trick].replace(b"T", b"ctorch._utils\n_rebuild_tensor_v2\n"))
    with pytest.raises((UnsupportedModel, CorruptSource), match=r"pytorch_model\.bin"):
        sources.load(folder)


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    write_bin(folder / "pytorch_model.bin", tensors, layout={"pooler.dense.bias": (1, (32,), (1,))})
    with pytest.raises(CorruptSource, match=r"pooler\.dense\.bias reaches to element 32 .* at most 31"):
        sources.load(folder)


def test_a_shape_that_would_fill_the_memory_is_refused_unread(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    write_bin(folder / "pytorch_model.bin", tensors, layout={"pooler.dense.bias": (0, (1 << 45,), (0,))})
    with pytest.raises(CorruptSource, match=r"pooler\.dense\.bias has shape \[35184372088832\]"):
        sources.load(folder)


def test_hdf5_that_refers_to_another_file_is_refused(formats: Path, tmp_path: Path):
    import h5py

    folder = shutil.copytree(formats / "h5", tmp_path / "model")
    (tmp_path / "secret").write_bytes(bytes(4 * 32))
    with h5py.File(folder / "tf_model.h5", "a") as stream:
        stream.create_dataset("more", (32,), "f4", external=[(str(tmp_path / "secret"), 0, 4 * 32)])
    with pytest.raises(UnsupportedModel, match="the tensor more refers to another file"):
        sources.load(folder)


# DistilBERT and ELECTRA, compared with PyTorch.

VARIANTS = {
    "distilbert.gelu": {},
    "distilbert.relu": {"activation": "relu"},
    "electra.gelu": {},
    "electra.gelu_new": {"hidden_act": "gelu_new"},
    "electra.gelu_eps1e-5": {"layer_norm_eps": 1e-5},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_relative_of_bert_gives_pytorchs_vectors(tmp_path: Path, variant: str):
    from rawbert.exporter.graph.encoder import NativeEncoder

    family = variant.partition(".")[0]
    folder = relative(family, tmp_path / "model")
    edit(folder / "config.json", **VARIANTS[variant])
    loaded = sources.load(folder)
    assert (loaded.encoder.family, loaded.has_pooler, loaded.max_positions) == (family, False, 64)
    batch = np.load(DATA / "tiny_bert_golden.npz")
    golden = np.load(DATA / "tiny_relatives_golden.npz")[f"{variant}.last_hidden_state"]
    # Rows of one segment: all types of a single text are 0.
    rows = np.flatnonzero(batch["token_type_ids"].max(axis=1) == 0) if family == "electra" else np.arange(6)
    mask = batch["attention_mask"][rows]
    sequence, pooled = NativeEncoder(loaded.encoder, loaded.weights)(batch["input_ids"][rows], mask)
    assert pooled is None
    np.testing.assert_allclose(sequence.numpy()[mask == 1], golden[rows][mask == 1], rtol=0, atol=1e-5)
    reference = FolderReference(folder, 64)
    for row in rows:
        count = batch["attention_mask"][row].sum()
        got = reference(batch["input_ids"][row, :count].tolist())["sequence_output"]
        np.testing.assert_allclose(got, golden[row, :count], rtol=0, atol=1e-9)


def test_the_variants_differ_by_more_than_the_tolerance():
    golden = np.load(DATA / "tiny_relatives_golden.npz")
    states = [golden[f"{variant}.last_hidden_state"] for variant in VARIANTS]
    for at, one in enumerate(states):
        for other in states[at + 1 :]:
            assert np.abs(one - other).max() > 5e-5


@pytest.mark.parametrize("family", ["distilbert", "electra"])
def test_a_relative_from_tensorflow_gives_the_same_description(formats: Path, tmp_path: Path, family: str):
    wanted = sources.load(relative(family, tmp_path / "model"))
    loaded = sources.load(formats / f"{family}-h5")
    assert loaded.encoder == wanted.encoder
    assert_same_weights(loaded, wanted)
    one, other = FolderReference(formats / f"{family}-h5", 64)(IDS), FolderReference(tmp_path / "model", 64)(IDS)
    np.testing.assert_allclose(one["sequence_output"], other["sequence_output"], rtol=0, atol=1e-12)


FAMILIES = ["xmod", "xlm-roberta-xl", "data2vec-text", "xlnet", "t5", "longformer"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_other_family_is_refused_by_name(tmp_path: Path, family: str):
    folder = tiny(tmp_path / "model", model_type=family, architectures=["SomeModel"])
    with pytest.raises(UnsupportedModel, match=rf"config\.json: the encoder family is '{family}' .*SomeModel"):
        sources.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("position_embedding_type", "relative_key"),
        ("position_embedding_type", "alibi"),
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("quantization_config", {"bits": 4}),
        ("pruned_heads", {"1": [0]}),
        ("auto_map", {"AutoModel": "modeling.MyBert"}),
    ],
)
def test_settings_that_make_another_graph_are_refused(tmp_path: Path, key: str, value: object):
    with pytest.raises(UnsupportedModel, match=rf"config\.json: {key} is "):
        sources.load(tiny(tmp_path / "model", **{key: value}))
