"""Files of RoBERTa, XLM-RoBERTa, CamemBERT and ALBERT: names of weights, settings, and refusals."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from folders import DATA, edit, retensor, shard, tensors_of
from formats import write_bin
from rawbert.exporter import ConfigError, CorruptSource, UnsupportedModel, sources
from tiny_families import FAMILIES, folder_of, retokenize, write_tokenizer


def same(folder: Path, name: str) -> None:
    """Compare the weights that exporter and reference read from a folder with the tensors of these PyTorch names."""
    from rawbert.exporter.proof import weights
    from rawbert.exporter.proof.families import twin_of

    usual = folder_of(name, folder.parent / "usual")
    got, wanted = (sources.load(each).weights for each in (folder, usual))
    assert list(got) == list(wanted)
    for key, value in wanted.items():
        np.testing.assert_array_equal(got[key], value)
    outputs = []
    for each in (folder, usual):
        config, tensors = weights.load(each)
        outputs.append(twin_of(config).forward(tensors, config, np.array([0, 7, 1, 9, 2])))
    for key, value in outputs[1].items():
        np.testing.assert_array_equal(outputs[0][key], value)


@pytest.mark.parametrize("name", ["xlm-roberta.one", "albert.uneven"])
def test_transformers_tensorflow_files(tmp_path: Path, name: str):
    folder = folder_of(name, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with tarfile.open(DATA / "tiny_families_h5.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    shutil.copy(tmp_path / name / "tf_model.h5", folder)
    same(folder, name)
    assert any("tensors of its head or others are not exported" in note for note in sources.load(folder).notes)


@pytest.mark.parametrize("name", ["roberta.masked", "xlm-roberta", "camembert", "albert.groups"])
def test_names_of_checkpoints_of_every_age(tmp_path: Path, name: str):
    of = name.partition(".")[0]
    prefix = "albert." if of == "albert" else "roberta."

    def renamed(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        changed = {}
        for key, value in tensors.items():
            stem, _, leaf = key.removeprefix(prefix).rpartition(".")
            if re.search("norm$", stem, re.IGNORECASE):  # as they were converted from TensorFlow
                leaf = {"weight": "gamma", "bias": "beta"}[leaf]
            changed[f"model.{prefix}{stem}.{leaf}"] = value
        changed[f"model.{prefix}embeddings.position_ids"] = np.arange(24)[None]
        return {**changed, "lm_head.bias": np.zeros(60, np.float32)}

    folder = folder_of(name, tmp_path / "model")
    retensor(folder, renamed)
    same(folder, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_shards_and_pickles(tmp_path: Path, family: str):
    folder = folder_of(family, tmp_path / "one" / "model")
    tensors = tensors_of(folder)
    shard(folder)
    same(folder, family)
    folder = folder_of(family, tmp_path / "other" / "model")
    (folder / "model.safetensors").unlink()
    write_bin(folder / "pytorch_model.bin", tensors)
    same(folder, family)


def test_what_config_json_leaves_out_is_as_transformers_has_it(tmp_path: Path):
    left = dict.fromkeys(("pad_token_id", "hidden_act", "layer_norm_eps"), ...)
    roberta = sources.load(folder_of("roberta", tmp_path / "roberta", **left)).encoder
    assert (roberta.padding_idx, roberta.activation, roberta.layer_norm_eps) == (1, "gelu", 1e-12)
    albert = sources.load(folder_of("albert", tmp_path / "albert", **left, num_hidden_groups=...)).encoder
    assert (albert.padding_idx, albert.activation, albert.layer_groups) == (None, "gelu_tanh", 1)


@pytest.mark.parametrize(("name", "kind"), [("xlm-roberta", "XLMRobertaModel"), ("albert", "AlbertForPreTraining")])
def test_a_class_names_the_family_where_model_type_does_not(tmp_path: Path, name: str, kind: str):
    from rawbert.exporter.proof.families import name_of

    folder = folder_of(name, tmp_path / "model", model_type=..., architectures=[kind])
    assert sources.load(folder).encoder.family == name_of({"architectures": [kind]}) == name


REFUSED = {
    "no padding": ("roberta", {"pad_token_id": None}, CorruptSource, "pad_token_id is None; positions are counted"),
    "a padding below 0": ("xlm-roberta", {"pad_token_id": -1}, CorruptSource, "pad_token_id is -1"),
    "a padding by name": ("camembert", {"pad_token_id": "<pad>"}, CorruptSource, "pad_token_id is '<pad>'"),
    "no positions": ("roberta", {"max_position_embeddings": 2}, CorruptSource, "the first token takes row 2"),
    "more positions than rows": ("roberta", {"max_position_embeddings": 25}, CorruptSource, r"\[24, 32\].*\[25, 32\]"),
    "relative positions": (
        "xlm-roberta", {"position_embedding_type": "relative_key"}, UnsupportedModel, "only 'absolute'",
    ),
    "an XLM-R with adapters": ("xlm-roberta", {"model_type": "xmod"}, UnsupportedModel, "family is 'xmod'"),
    "an XLM-R that normalizes first": (
        "xlm-roberta", {"model_type": "xlm-roberta-xl"}, UnsupportedModel, "family is 'xlm-roberta-xl'",
    ),
    "groups of several layers": ("albert", {"inner_group_num": 2}, UnsupportedModel, "inner_group_num is 2"),
    "more groups than layers": ("albert", {"num_hidden_groups": 4}, CorruptSource, "num_hidden_groups is 4"),
    "more groups than weights": (
        "albert", {"num_hidden_groups": 2}, CorruptSource, r"albert_layer_groups\.1\..* is missing",
    ),
    "fewer groups than weights": (
        "albert.groups", {"num_hidden_groups": 1}, CorruptSource, "requires only 1 group of layers",
    ),
    "fewer layers than weights": ("camembert", {"num_hidden_layers": 1}, CorruptSource, "requires only 1 layer"),
    "other embeddings": ("albert", {"embedding_size": 32}, CorruptSource, r"\[60, 16\].*\[60, 32\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_family_cannot_be_is_refused_by_name(tmp_path: Path, case: str):
    name, changes, error, message = REFUSED[case]
    folder = folder_of(name, tmp_path / "model")
    edit(folder / "config.json", **changes)
    with pytest.raises(error, match=message):
        sources.load(folder)


def test_embeddings_as_wide_as_the_layers_are_projected_in_albert_alone(tmp_path: Path):
    assert sources.load(folder_of("albert.wide", tmp_path / "model")).encoder.projects
    folder = folder_of("albert.wide", tmp_path / "without")
    retensor(folder, lambda tensors: {key: value for key, value in tensors.items() if "mapping_in" not in key})
    with pytest.raises(CorruptSource, match=r"embedding_hidden_mapping_in\.weight is missing"):
        sources.load(folder)


def test_pairs_need_vectors_of_their_token_types(tmp_path: Path):
    from proofs import resolved

    folder = folder_of("roberta", tmp_path / "model")
    write_tokenizer(folder, "albert")  # whose second text is of type 1
    resolved(folder)
    with pytest.raises(ConfigError, match="the token type 1, but type_vocab_size"):
        resolved(folder, pair=True)
    edit(folder / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
    assert resolved(folder, pair=True)[0].pair


def test_the_tokenizers_padding_need_not_be_the_models(tmp_path: Path):
    """Positions are counted from pad_token_id of config.json on; padding is not counted."""
    folder = folder_of("roberta.padding", tmp_path / "model")
    checkpoint = sources.load(folder)
    assert (checkpoint.encoder.padding_idx, checkpoint.tokenizer.pad_id) == (3, 1)
    retokenize(folder, lambda state: state["added_tokens"].pop())
    assert sources.load(folder).encoder == checkpoint.encoder
