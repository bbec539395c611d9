"""Unusual folders that both readers must read correctly, and folders that they must refuse by their kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from folders import DATA, edit, retensor, tiny
from formats import relative, unpack
from rawbert.exporter import CorruptSource, UnsupportedModel, sources
from rawbert.exporter.proof import settings
from rawbert.exporter.proof.reference import FolderReference

IDS = [2, 76, 77, 78, 3]


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("formats"))


def assert_same(folder: Path, checkpoint) -> None:
    """Check that exporter and reference read the same as from tiny_bert."""
    loaded = sources.load(folder)
    assert set(loaded.weights) == set(checkpoint.weights)
    for name, value in checkpoint.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], value)
    got, wanted = FolderReference(folder, 64)(IDS), FolderReference(DATA / "tiny_bert", 64)(IDS)
    assert set(got) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-12)


# Names.


def test_a_head_with_a_pooler_of_its_own_is_left_aside(tmp_path: Path, checkpoint):
    folder = tiny(tmp_path / "model")
    extra = {
        f"head.pooler.dense.{leaf}": np.ones((32, 32)[: 2 - at], np.float32)
        for at, leaf in enumerate(("weight", "bias"))
    }
    retensor(folder, lambda t: {f"bert.{name}": value for name, value in t.items()} | extra)
    assert_same(folder, checkpoint)
    assert any("head.pooler.dense.bias" in note for note in sources.load(folder).notes)


def test_a_head_with_a_pooler_where_the_encoder_has_none(tmp_path: Path):
    folder = tiny(tmp_path / "model")
    extra = {
        "head.pooler.dense.weight": np.ones((32, 32), np.float32),
        "head.pooler.dense.bias": np.ones(32, np.float32),
    }
    retensor(folder, lambda t: {f"bert.{n}": v for n, v in t.items() if not n.startswith("pooler")} | extra)
    assert not sources.load(folder).has_pooler
    assert "pooled_output" not in FolderReference(folder, 64)(IDS)


def test_an_average_of_the_weights_beside_them_is_left_aside(tmp_path: Path, checkpoint):
    folder = tiny(tmp_path / "model")
    retensor(folder, lambda t: {f"{side}bert.{n}": v + bool(side) for side in ("ema.", "") for n, v in t.items()})
    assert_same(folder, checkpoint)


@pytest.mark.parametrize("end", [":0", ""])
def test_tensorflows_names_in_safetensors(formats: Path, tmp_path: Path, checkpoint, end: str):
    import h5py
    from safetensors.numpy import save_file

    folder = tiny(tmp_path / "model")
    tensors: dict[str, np.ndarray] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            tensors[name.partition("/")[2].partition("/")[2].removesuffix(":0") + end] = item[()]

    with h5py.File(formats / "h5" / "tf_model.h5") as stream:
        stream.visititems(take)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "tf"})
    assert_same(folder, checkpoint)


def test_a_checkpoint_file_that_names_a_bucket(formats: Path, tmp_path: Path):
    folder = shutil.copytree(formats / "google", tmp_path / "model")
    for path in list(folder.glob("bert_model.ckpt.*")):
        shutil.copy(path, folder / path.name.replace("bert_model", "older"))
    with pytest.raises(CorruptSource, match="expected one checkpoint"):
        sources.load(folder)
    for written in ("gs://bucket/run/bert_model.ckpt", "/home/me/run/bert_model.ckpt", "C:\\\\run\\\\bert_model.ckpt"):
        (folder / "checkpoint").write_text(f'model_checkpoint_path: "{written}"\nall_model_checkpoint_paths: "x"\n')
        assert any("bert_model.ckpt.index" in file.path for file in sources.load(folder).files)
        assert FolderReference(folder, 64)(IDS)["sequence_output"].shape == (5, 32)


# config.json.


@pytest.mark.parametrize("changes", [{"type_vocab_size": ...}, {"model_type": ...}, {"model_type": None}])
def test_what_config_json_leaves_out_is_taken_from_elsewhere(tmp_path: Path, checkpoint, changes: dict):
    folder = tiny(tmp_path / "model", **changes)
    assert_same(folder, checkpoint)
    (folder / "tokenizer.json").unlink()
    assert_same(folder, checkpoint)
    assert FolderReference(folder, 64).tokenize("the cat").ids == [2, 76, 77, 3]


def test_distilberts_other_names_are_one_setting(tmp_path: Path):
    folder = relative("distilbert", tmp_path / "model")
    wanted = FolderReference(folder, 64)(IDS)["sequence_output"]
    heads = json.loads((folder / "config.json").read_text())["n_heads"]
    edit(folder / "config.json", num_attention_heads=heads)
    assert sources.load(folder).encoder.num_heads == heads
    edit(folder / "config.json", n_heads=...)
    assert sources.load(folder).encoder.num_heads == heads
    np.testing.assert_array_equal(FolderReference(folder, 64)(IDS)["sequence_output"], wanted)
    edit(folder / "config.json", n_heads=heads // 2)
    with pytest.raises(CorruptSource, match=r"n_heads is .* and num_attention_heads is"):
        sources.load(folder)


def test_a_head_of_pretraining_is_noted(tmp_path: Path):
    folder = tiny(tmp_path / "model", architectures=["BertForMaskedLM"])
    retensor(folder, lambda t: t.update({"cls.predictions.bias": np.ones(99, np.float32)}))
    loaded = sources.load(folder)
    (note,) = loaded.notes
    assert "only the encoder of the model (BertForMaskedLM)" in note
    assert "cls.predictions.bias" in note
    assert (loaded.head, loaded.unknown_head) == (None, None)


# Kinds of folders.


@pytest.mark.parametrize("alone", [True, False])
def test_an_adapter_is_named(tmp_path: Path, alone: bool):
    folder = tiny(tmp_path / "model")
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "me/base"}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    if alone:
        for name in ("config.json", "model.safetensors"):
            (folder / name).unlink()
    with pytest.raises(UnsupportedModel, match=r"adapter_config\.json: .*an adapter \(LORA\) for the model 'me/base'"):
        sources.load(folder)
    with pytest.raises(ValueError, match="have an adapter"):
        settings.read(folder)


def test_a_preset_of_keras_hub_is_named(tmp_path: Path):
    state = {"module": "keras_hub.src.models.bert.bert_backbone", "class_name": "BertBackbone", "config": {},
             "registered_name": "keras_hub>BertBackbone"}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(state))
    (tmp_path / "model.weights.h5").write_bytes(b"")
    with pytest.raises(UnsupportedModel, match=r"config\.json: a preset of KerasHub \(BertBackbone\)"):
        sources.load(tmp_path)


# sentence-transformers.


def modules(folder: Path, *types: str) -> None:
    paths = ["", "1_Pooling", "2_Dense", "3_Normalize"]
    listing = [{"idx": at, "name": str(at), "path": paths[at], "type": kind} for at, kind in enumerate(types)]
    (folder / "modules.json").write_text(json.dumps(listing))


PATHS = {
    "2": "sentence_transformers.models.{}",
    "3 to 5": "sentence_transformers.models.{0}.{0}",
    "5.4": "sentence_transformers.sentence_transformer.modules.{}",
    "5.4 by file": "sentence_transformers.sentence_transformer.modules.{lower}.{0}",
    "6": "sentence_transformers.base.modules.{lower}.{0}",
}


@pytest.mark.parametrize("release", PATHS)
def test_modules_of_every_release_are_known(tmp_path: Path, release: str):
    folder = tiny(tmp_path / "model", "mean_dense_normalize")
    wanted = FolderReference(folder, 64)(IDS)["embedding"]
    kinds = ("Transformer", "Pooling", "Dense", "Normalize")
    modules(folder, *(PATHS[release].format(kind, lower=kind.lower()) for kind in kinds))
    assert sources.load(folder).pooling.steps[1] == "normalize"
    np.testing.assert_array_equal(FolderReference(folder, 64)(IDS)["embedding"], wanted)


@pytest.mark.parametrize(
    "foreign", ["pylate.models.{}", "my.{}", "custom_st.{}", "sentence_transformers.sparse_encoder.models.{}"]
)
@pytest.mark.parametrize("at", range(4))
def test_modules_of_other_packages_are_others(tmp_path: Path, foreign: str, at: int):
    folder = tiny(tmp_path / "model", "mean_dense_normalize")
    types = [f"sentence_transformers.models.{kind}" for kind in ("Transformer", "Pooling", "Dense", "Normalize")]
    types[at] = foreign.format(types[at].rpartition(".")[2])
    modules(folder, *types)
    with pytest.raises(UnsupportedModel, match=rf"modules\.json: .*{types[at]}"):
        sources.load(folder)
    with pytest.raises(ValueError, match=r"modules\.json: unknown modules"):
        settings.read(folder)


def test_two_modules_of_one_name_are_refused(tmp_path: Path):
    folder = tiny(tmp_path / "model", "mean_dense_normalize")
    listing = json.loads((folder / "modules.json").read_text())
    listing[2]["name"] = listing[3]["name"]
    (folder / "modules.json").write_text(json.dumps(listing))
    with pytest.raises(CorruptSource, match=r"modules\.json: the names are"):
        sources.load(folder)
    with pytest.raises(ValueError, match="two with the same name"):
        settings.read(folder)


@pytest.mark.parametrize("name", ["roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"])
def test_older_names_of_the_settings_are_read(tmp_path: Path, name: str):
    folder = tiny(tmp_path / "model", "mean")
    (folder / "sentence_bert_config.json").unlink(missing_ok=True)
    path = folder / f"sentence_{name}_config.json"
    path.write_text('{"max_seq_length": 16, "do_lower_case": true}')
    state = json.loads((folder / "tokenizer.json").read_text())
    edit(folder / "tokenizer.json", normalizer={**state["normalizer"], "lowercase": False})
    loaded = sources.load(folder)
    assert (loaded.max_seq_length, loaded.tokenizer.lowercase) == (16, True)
    assert path.name in {file.path for file in loaded.files}
    reference = FolderReference(folder, 64)
    assert (reference.max_seq_length, reference.tokenize("The").ids) == (16, [2, 76, 3])
    edit(path, tokenizer_args={"do_lower_case": True})
    with pytest.raises(UnsupportedModel, match=f"{path.name}: tokenizer_args is"):
        sources.load(folder)
    with pytest.raises(ValueError, match=f"{path.name}: tokenizer_args is"):
        settings.read(folder)


def test_a_prompt_that_is_not_pooled_is_refused(tmp_path: Path):
    folder = tiny(tmp_path / "model", "mean")
    edit(folder / "1_Pooling" / "config.json", include_prompt=False)
    sources.load(folder)  # a model without prompts
    settings.read(folder)
    edit(folder / "config_sentence_transformers.json", prompts={"query": "q: ", "document": ""})
    with pytest.raises(UnsupportedModel, match=r"1_Pooling/config\.json: include_prompt is false.*query"):
        sources.load(folder)
    with pytest.raises(ValueError, match="prompt tokens are not pooled"):
        settings.read(folder)
