"""Broken sources: each error names the file, the key, what was expected and what was found."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from folders import DATA, edit, retensor, shard, tensors_of, tiny, use_vocabulary, vocabulary
from formats import relative, unpack, write_bin
from rawbert.exporter import SourceError, sources

QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("formats"))


@dataclass
class Broken:
    """``source`` is a folder of tiny_formats, or tiny_bert, tiny_distilbert, shards of tiny_bert, or its .bin."""

    source: str
    change: Callable[[Path], object]
    file: str
    key: str
    expected: str
    found: str


def tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    return lambda folder: retensor(folder, change)


def put(name: str, value: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return tensors(lambda t: t.update({name: value(t[name])}))


def cut(name: str, keep: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def in_bin(change: Callable[[dict[str, np.ndarray]], object], **layout: tuple) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        state = tensors_of(DATA / "tiny_bert")
        change(state)
        write_bin(folder / "pytorch_model.bin", state, layout=layout)

    return write


def with_nan(value: np.ndarray) -> np.ndarray:
    value = value.copy()
    value[3, 5] = np.nan
    return value


def in_hdf5(change: Callable[[object], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import h5py

        with h5py.File(folder / "tf_model.h5", "a") as stream:
            change(stream)

    return write


def twice_an_id(folder: Path) -> None:
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    state["model"]["vocab"]["cat"] = state["model"]["vocab"]["dog"]
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")


def moved_to_the_other_shard(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    (folder / "model-00002-of-00002.safetensors").write_bytes(
        (folder / "model-00001-of-00002.safetensors").read_bytes()
    )
    edit(index, weight_map=weight_map)


H5 = "bert/tf_bert_model/bert/encoder/layer_._1/attention/self/query"
TF = "transformer/layer_1/self_attention/query"
DATA_FILE = "bert_model.ckpt.data-00000-of-00001"

BROKEN = {
    "a tensor of another shape": Broken(
        "tiny_bert", put(QUERY, lambda v: v[:31]), "model.safetensors", QUERY, "[32, 32]", "[31, 32]"),
    "a tensor of another rank": Broken(
        "tiny_bert", put("pooler.dense.bias", lambda v: v[None]), "model.safetensors", "pooler.dense.bias", "[32]",
        "[1, 32]"),
    "a missing tensor": Broken(
        "tiny_bert", tensors(lambda t: t.pop(QUERY) is None), "model.safetensors", QUERY, "[32, 32]", "54 tensors"),
    "a missing bias of the pooler": Broken(
        "tiny_bert", tensors(lambda t: t.pop("pooler.dense.bias") is None), "model.safetensors", "pooler.dense.bias",
        "[32]", "54 tensors"),
    "no encoder at all": Broken(
        "tiny_bert", tensors(lambda t: {"head.weight": np.zeros((2, 2), np.float32)}), "model.safetensors",
        "embeddings.word_embeddings.weight", "no tensor is named", "1 tensors: head.weight"),
    "whole numbers for weights": Broken(
        "tiny_bert", put(QUERY, lambda v: v.astype(np.int8)), "model.safetensors", QUERY, "floating-point", "I8"),
    "NaN": Broken("tiny_bert", put(QUERY, with_nan), "model.safetensors", QUERY, "expected numbers", "nan at [3, 5]"),
    "an overflow of half precision": Broken(
        "tiny_bert", put("pooler.dense.bias", lambda v: np.full(32, np.inf, np.float16)), "model.safetensors",
        "pooler.dense.bias", "expected numbers", "inf at [0]"),
    "an empty file of weights": Broken(
        "tiny_bert", cut("model.safetensors", 0), "model.safetensors", "header", "expected a header", "0 bytes"),
    "a cut file of weights": Broken(
        "tiny_bert", cut("model.safetensors", 1000), "model.safetensors", "header", "expected a header", "1000 bytes"),
    "an empty config.json": Broken(
        "tiny_bert", cut("config.json", 0), "config.json", "JSON", "readable as JSON", "line 1 column 1"),
    "fewer layers than the weights": Broken(
        "tiny_bert", lambda f: edit(f / "config.json", num_hidden_layers=2), "model.safetensors",
        "encoder.layer.2.attention.output.dense.weight", "only 2 layers", "exists"),
    "a longer position table than the weights": Broken(
        "tiny_bert", lambda f: edit(f / "config.json", max_position_embeddings=512), "model.safetensors",
        "embeddings.position_embeddings.weight", "[512, 32]", "[64, 32]"),
    "a size that is no number": Broken(
        "tiny_bert", lambda f: edit(f / "config.json", hidden_size="32"), "config.json", "hidden_size",
        "positive whole number", "'32'"),
    "another family": Broken(
        "tiny_bert", lambda f: edit(f / "config.json", model_type="xlnet"), "config.json", "model_type",
        "bert, distilbert, electra", "'xlnet'"),
    "a missing shard": Broken(
        "shards", lambda f: (f / "model-00002-of-00002.safetensors").unlink(), "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "lists it", "missing"),
    "a tensor in two shards": Broken(
        "shards", moved_to_the_other_shard, "model-00002-of-00002.safetensors", "embeddings.LayerNorm.bias",
        "expected it once", "in model-00001-of-00002.safetensors too"),
    "an index without shards": Broken(
        "shards", lambda f: edit(f / "model.safetensors.index.json", weight_map=[]), "model.safetensors.index.json",
        "weight_map", "expected an object", "no weight_map"),
    "an id twice": Broken("tiny_bert", twice_an_id, "tokenizer.json", "the id 78", "expected one word",
        "'cat' and 'dog'"),
    "a word too many": Broken(
        "tiny_bert", lambda f: use_vocabulary(f, [*vocabulary(f), "more"]), "", "vocabulary", "99 rows",
        "100 tokens"),
    "an empty vocabulary": Broken(
        "google", cut("vocab.txt", 0), "vocab.txt", "[CLS]", "which BERT needs", "has no [CLS]"),
    "a cut .bin": Broken(
        "bin", cut("pytorch_model.bin", 9000), "pytorch_model.bin", "torch.save", "expected a dict of tensors",
        "9000 bytes"),
    "a cut .bin of the old format": Broken(
        "bin-legacy", cut("pytorch_model.bin", 90_000), "pytorch_model.bin", "the storage",
        "expected a dict of tensors",
        "90000 bytes"),
    "a .bin that is something else": Broken(
        "bin", lambda f: (f / "pytorch_model.bin").write_text("<html>"), "pytorch_model.bin", "torch.save",
        "expected a dict of tensors", "6 bytes"),
    "a pointer of Git LFS": Broken(
        "bin", lambda f: (f / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "pytorch_model.bin", "git lfs pull", "expected weights", "found a pointer"),
    "an empty tokenizer_config.json": Broken(
        "tiny_bert", cut("tokenizer_config.json", 0), "tokenizer_config.json", "JSON", "readable as JSON",
        "line 1 column 1"),
    "an empty tokenizer.json": Broken(
        "tiny_bert", cut("tokenizer.json", 0), "tokenizer.json", "JSON", "readable as JSON", "line 1 column 1"),
    "NaN in a .bin": Broken(
        "bin", in_bin(lambda t: t.update({QUERY: with_nan(t[QUERY])})), "pytorch_model.bin", QUERY, "expected numbers",
        "nan at [3, 5]"),
    "a shape in a .bin": Broken(
        "bin", in_bin(lambda t: t.update({QUERY: t[QUERY][:5]})), "pytorch_model.bin", QUERY, "[32, 32]", "[5, 32]"),
    "a cut tf_model.h5": Broken(
        "h5", cut("tf_model.h5", 100_000), "tf_model.h5", "HDF5", "expected weights of a Keras model", "100000 bytes"),
    "a missing tensor in tf_model.h5": Broken(
        "h5", in_hdf5(lambda s: s.pop(f"{H5}/kernel:0")), "tf_model.h5", f"{H5}/kernel:0", "[32, 32]", "54 tensors"),
    "a bert_model.ckpt without its data": Broken(
        "google", lambda f: (f / DATA_FILE).unlink(), DATA_FILE, "bert_model.ckpt.index", "lists it", "missing"),
    "a cut bert_model.ckpt": Broken(
        "google", cut(DATA_FILE, 1000), "bert_model.ckpt.index", "the tensor bert/", "its .data files",
        "cannot be read"),
    "a cut index of bert_model.ckpt": Broken(
        "google", cut("bert_model.ckpt.index", 99), "bert_model.ckpt.index", "TensorFlow cannot read",
        "expected the index",
        "99 bytes"),
    "a bert_config.json of another width": Broken(
        "google", lambda f: edit(f / "bert_config.json", intermediate_size=128), "bert_model.ckpt.index",
        "bert/encoder/layer_0/intermediate/dense/kernel", "[32, 128]", "[32, 64]"),
    "a bert_config.json of more layers": Broken(
        "tf-models", lambda f: edit(f / "bert_config.json", num_hidden_layers=4), "bert_model.ckpt-1.index",
        "transformer/layer_3/self_attention/query/kernel", "[32, 32]", "missing"),
    "two checkpoints": Broken(
        "google", lambda f: shutil.copy(f / "bert_model.ckpt.index", f / "other.ckpt.index"), "google", "checkpoint",
        "expected one checkpoint", "found bert_model.ckpt, other.ckpt"),
    "no checkpoint": Broken(
        "google", lambda f: (f / "bert_model.ckpt.index").unlink(), "google", "*.index",
        "expected a TensorFlow checkpoint",
        "no weights"),
    "a DistilBERT of another width": Broken(
        "tiny_distilbert", lambda f: edit(f / "config.json", hidden_dim=65), "model.safetensors",
        "distilbert.transformer.layer.0.ffn.lin1.weight", "[65, 32]", "[64, 32]"),
    "a DistilBERT of heads that do not divide": Broken(
        "tiny_distilbert", lambda f: edit(f / "config.json", n_heads=3), "config.json", "n_heads", "not a multiple",
        "dim 32"),
    "a folder of something else": Broken(
        "google", lambda f: [path.unlink() for path in f.iterdir() if path.suffix == ".json"], "google",
        "bert_config.json",
        "expected config.json", "found bert_model.ckpt.data"),
    "an empty folder": Broken(
        "google", lambda f: [path.unlink() for path in f.iterdir()], "google", "config.json", "expected",
        "an empty folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_the_error_names_file_key_expected_and_found(formats: Path, tmp_path: Path, case: str):
    broken = BROKEN[case]
    folder = tmp_path / ("model" if broken.source in ("tiny_bert", "shards") else broken.source)
    if broken.source in ("tiny_bert", "shards"):
        tiny(folder)
        if broken.source == "shards":
            shard(folder)
    elif broken.source == "tiny_distilbert":
        relative("distilbert", folder)
    else:
        shutil.copytree(formats / broken.source, folder)
    sources.load(folder)  # without the change it is valid
    broken.change(folder)
    with pytest.raises(SourceError) as caught:
        sources.load(folder)
    message = str(caught.value)
    path = folder if broken.file == folder.name else folder / broken.file
    assert message.startswith(str(path))
    for part in (broken.key, broken.expected, broken.found):
        assert part in message, f"{part!r} is not in: {message}"


@pytest.mark.parametrize("locked", [".", "config.json", "model.safetensors", "vocab.txt"])
def test_what_may_not_be_read_is_named(locked: str):
    # Not tmp_path, which only its owner may enter.
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        folder = tiny(Path(scratch, "model"))
        (folder / "tokenizer.json").unlink()
        (folder / locked).chmod(0)
        # Root can read everything, so become the user nobody for a moment.
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)
            with pytest.raises(SourceError, match=r"[Pp]ermission denied") as caught:
                sources.load(folder)
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
        assert str(caught.value).startswith(str(folder if locked == "." else folder / locked))
