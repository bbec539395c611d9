"""sentence-transformers folders: their recipes, in new and old formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from folders import edit, retensor, tensors_of, tiny
from rawbert.exporter import CorruptSource, UnsupportedModel, sources
from rawbert.exporter.sources.checkpoint import PoolingRecipe

OLD_SPELLINGS = {
    "cls_token": "cls",
    "max_tokens": "max",
    "mean_tokens": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean_tokens": "weightedmean",
    "lasttoken": "lasttoken",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny(tmp_path / "model", "mean_dense_normalize")


def test_pooling_dense_and_normalize_become_a_recipe(folder: Path):
    loaded = sources.load(folder)
    assert loaded.kind == "sentence-transformers"
    assert loaded.pooling.modes == ("mean",)
    dense, normalize = loaded.pooling.steps
    assert normalize == "normalize"
    tensors = tensors_of(folder / "2_Dense")
    np.testing.assert_array_equal(dense.kernel, tensors["linear.weight"].T)
    np.testing.assert_array_equal(dense.bias, tensors["linear.bias"])
    assert dense.activation == "tanh"
    assert {"modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"} <= {
        file.path for file in loaded.files
    }


def test_several_modes_are_joined_in_the_order_of_the_list(tmp_path: Path):
    folder = tiny(tmp_path / "model", "cls_mean")
    assert sources.load(folder).pooling.modes == ("cls", "mean")
    edit(folder / "1_Pooling" / "config.json", pooling_mode=["mean", "cls"])
    assert sources.load(folder).pooling.modes == ("mean", "cls")


@pytest.mark.parametrize("key", OLD_SPELLINGS)
def test_the_old_spelling_of_a_mode_is_understood(folder: Path, key: str):
    old = {f"pooling_mode_{each}": each == key for each in OLD_SPELLINGS}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **old}))
    assert sources.load(folder).pooling.modes == (OLD_SPELLINGS[key],)


def test_old_spellings_are_joined_in_the_librarys_own_order(tmp_path: Path):
    folder = tiny(tmp_path / "model", "mean")
    old = {f"pooling_mode_{each}": True for each in reversed(OLD_SPELLINGS)}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(old))
    assert sources.load(folder).pooling.modes == tuple(OLD_SPELLINGS.values())


def test_no_mode_at_all_is_mean(tmp_path: Path):
    folder = tiny(tmp_path / "model", "cls")
    (folder / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 32}')
    assert sources.load(folder).pooling == PoolingRecipe(("mean",))


def test_module_types_of_all_releases_and_a_transformer_in_its_own_folder(tmp_path: Path):
    folder = tmp_path / "model"
    tiny(folder / "0_Transformer")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    types = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"]
    paths = ["0_Transformer", "1_Pooling"]
    modules = [{"idx": at, "name": str(at), "path": paths[at], "type": types[at]} for at in (0, 1)]
    modules.append({"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"})
    (folder / "modules.json").write_text(json.dumps(modules))
    loaded = sources.load(folder)
    assert loaded.pooling == PoolingRecipe(("cls",), ("normalize",))
    assert "0_Transformer/model.safetensors" in {file.path for file in loaded.files}


@pytest.mark.parametrize(("given", "length"), [(16, 16), (64, 64), (1000, 64), (None, 64)])
def test_the_shortest_of_all_limits_holds(folder: Path, given: int | None, length: int):
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": given}))
    assert sources.load(folder).max_seq_length == length


def test_minilm_is_cut_at_the_length_of_its_sentence_bert_config(minilm_folder: Path):
    loaded = sources.load(minilm_folder)
    assert (loaded.max_seq_length, loaded.max_positions) == (256, 512)
    assert loaded.pooling == PoolingRecipe(("mean",), ("normalize",))
    assert loaded.tokenizer.lowercase  # although sentence_bert_config.json says do_lower_case: false


def test_do_lower_case_comes_before_a_cased_tokenizer(folder: Path):
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    edit(folder / "tokenizer.json", normalizer={**state["normalizer"], "lowercase": False})
    edit(folder / "tokenizer_config.json", do_lower_case=False)
    assert not sources.load(folder).tokenizer.lowercase
    edit(folder / "sentence_bert_config.json", do_lower_case=True)
    rules = sources.load(folder).tokenizer
    assert rules.lowercase
    assert rules.strip_accents is False  # lower-casing first strips nothing


def test_a_default_prompt_is_noted(folder: Path):
    prompts = {"query": "query: ", "passage": ""}
    edit(folder / "config_sentence_transformers.json", prompts=prompts, default_prompt_name="query")
    (note,) = sources.load(folder).notes
    assert "'query: '" in note
    edit(folder / "config_sentence_transformers.json", default_prompt_name=None)
    (note,) = sources.load(folder).notes
    assert "none of them by default: query ('query: ')" in note
    edit(folder / "config_sentence_transformers.json", prompts={"query": "", "passage": ""})
    assert sources.load(folder).notes == ()


def write(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def modules(*types: str, path: str = "") -> Callable[[Path], None]:
    state = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind in types]
    return write("modules.json", json.dumps(state))


def dense(**changes) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "2_Dense" / "config.json", **changes)


def dense_weights(change: Callable) -> Callable[[Path], None]:
    return lambda folder: retensor(folder / "2_Dense", change)


BROKEN = {
    "modules.json cut": (write("modules.json", "[{"), CorruptSource, "modules.json: not readable as JSON"),
    "modules.json an object": (write("modules.json", "{}"), CorruptSource, "modules.json: not a list of modules"),
    "a type that is a number": (write("modules.json", '[{"type": 1}]'), CorruptSource, "not a list of modules"),
    "a path that leaves the folder": (
        modules("Transformer", "Pooling", path="../other"), CorruptSource, "'../other' is outside the folder"),
    "an unknown module": (
        modules("Transformer", "Pooling", "LSTM"), UnsupportedModel, "modules.json: a LSTM module cannot be exported"),
    "no pooling": (modules("Transformer", "Normalize"), UnsupportedModel, "modules are Transformer, Normalize"),
    "a bag of words": (modules("BoW"), UnsupportedModel, "modules are BoW"),
    "no modules": (write("modules.json", "[]"), UnsupportedModel, "modules are none"),
    "no pooling file": (
        lambda folder: (folder / "1_Pooling/config.json").unlink(), CorruptSource, "1_Pooling/config.json: not re"),
    "a list for a pooling file": (write("1_Pooling/config.json", "[]"), CorruptSource, "1_Pooling/config.json: not a "),
    "an unknown mode": (write("1_Pooling/config.json", '{"pooling_mode": "median"}'), UnsupportedModel, "'median'"),
    "a number for a mode": (write("1_Pooling/config.json", '{"pooling_mode": 3}'), UnsupportedModel, "mode 3 is unkn"),
    "an empty list of modes": (write("1_Pooling/config.json", '{"pooling_mode": []}'), CorruptSource, "is empty"),
    "an unknown activation": (
        dense(activation_function="torch.nn.modules.activation.Mish"), UnsupportedModel, "2_Dense.*Mish"),
    "an activation from elsewhere": (dense(activation_function="mine.Tanh"), UnsupportedModel, "'mine.Tanh'"),
    "a residual layer": (dense(use_residual=True), UnsupportedModel, "use_residual"),
    "a layer over token vectors": (dense(module_input_name="token_embeddings"), UnsupportedModel, "module_input_name"),
    "a dense layer without its size": (dense(out_features=...), CorruptSource, "2_Dense.*: the weights do not fit"),
    "a dense layer of another size": (
        dense(out_features=17), CorruptSource, r"2_Dense.* requires .* \[17, 32\]; found \[16, 32\]"),
    "a dense layer without its bias": (
        dense_weights(lambda t: {"linear.weight": t["linear.weight"]}), CorruptSource,
        "requires linear.bias .*found no such"),
    "a bias of another size": (
        dense_weights(lambda t: {**t, "linear.bias": t["linear.bias"][:3]}), CorruptSource,
        r"linear.bias with shape \[16\]; found \[3\]"),
    "NaN in a dense layer": (
        dense_weights(lambda t: {**t, "linear.bias": t["linear.bias"] * np.nan}), CorruptSource,
        "2_Dense.*: the tensor linear.bias contains"),
    "a dense layer behind two modes": (
        write("1_Pooling/config.json", '{"pooling_mode": ["cls", "mean"]}'), CorruptSource, "takes 32 .* gives 64"),
    "no dense weights": (
        lambda folder: (folder / "2_Dense" / "model.safetensors").unlink(), CorruptSource,
        "2_Dense: no weights found"),
    "normalizing something else": (
        write("3_Normalize/config.json", '{"module_input_name": "token_embeddings"}'), UnsupportedModel, "module_inp"),
    "settings that are a list": (write("sentence_bert_config.json", "[]"), CorruptSource, "bert_config.json: not a"),
    "a limit that is a word": (
        write("sentence_bert_config.json", '{"max_seq_length": "x"}'), CorruptSource, "max_seq_length is 'x'"),
    "prompts that are a list": (
        write("config_sentence_transformers.json", "[]"), CorruptSource, "sentence_transformers.json: not a JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_refused_by_name(folder: Path, case: str):
    change, error, message = BROKEN[case]
    change(folder)
    with pytest.raises(error, match=message):
        sources.load(folder)
