"""Hugging Face and sentence-transformers folders: config.json, safetensors, tokenizer files, modules.json."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptSource, UnsupportedModel
from . import tokenizer_rules
from .checkpoint import BertConfig, Checkpoint, Dense, PoolingRecipe, SourceFile, check_shapes, describe_file
from .sentence_transformers import read_json, read_object, read_recipe

__all__ = ["is_folder", "read"]

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}

#: Hugging Face names, "N" for the layer's number -> canonical names. Dense weights are [out, in] there.
_NAMES = {
    "embeddings.word_embeddings.weight": "embeddings/word",
    "embeddings.position_embeddings.weight": "embeddings/position",
    "embeddings.token_type_embeddings.weight": "embeddings/type",
    "embeddings.LayerNorm": "embeddings/layer_norm",
    "encoder.layer.N.attention.self.query": "layer_N/attention/query",
    "encoder.layer.N.attention.self.key": "layer_N/attention/key",
    "encoder.layer.N.attention.self.value": "layer_N/attention/value",
    "encoder.layer.N.attention.output.dense": "layer_N/attention/output",
    "encoder.layer.N.attention.output.LayerNorm": "layer_N/attention/layer_norm",
    "encoder.layer.N.intermediate.dense": "layer_N/intermediate",
    "encoder.layer.N.output.dense": "layer_N/output",
    "encoder.layer.N.output.LayerNorm": "layer_N/output/layer_norm",
    "pooler.dense": "pooler",
}
_LAYER = re.compile(r"(?<=encoder\.layer\.)\d+")


def is_folder(folder: Path) -> bool:
    """Whether this looks like a Hugging Face or sentence-transformers folder."""
    return (folder / "config.json").is_file() or (folder / "modules.json").is_file()


def read(folder: Path) -> Checkpoint:
    """Read a Hugging Face or sentence-transformers folder with a BERT model.

    Raises:
        UnsupportedModel: another family, activation, tokenizer or module.
        CorruptSource: files are missing, damaged, or contradict each other.
        VocabularyError: the vocabulary does not fit the embedding table.
    """
    recipe = read_recipe(folder, lambda path: _read_tensors(path)[0])
    root = recipe.transformer if recipe else folder
    config_path = root / "config.json"
    config = _read_config(config_path)
    tensors, weight_files = _read_tensors(root)
    weights = _canonical(tensors)
    config = replace(config, has_pooler="pooler/kernel" in weights)
    check_shapes(weights, config, root)

    rules, length = tokenizer_rules.read_folder(root)
    rules = tokenizer_rules.fit(rules, config.vocab_size, root)
    notes: list[str] = []
    if recipe:
        _check_widths(recipe.pooling, config.hidden_size, folder)
        if recipe.lowercase and not rules.lowercase:
            rules = replace(rules, lowercase=True, strip_accents=bool(rules.strip_accents))
        length = recipe.max_seq_length or length
        notes += recipe.notes
    files = [config_path, *weight_files, *(recipe.files if recipe else ())]
    files += [root / name for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")]
    return Checkpoint(
        kind="sentence-transformers" if recipe else "huggingface",
        location=folder,
        tokenizer=rules,
        max_seq_length=min(length or config.max_positions, config.max_positions),
        hidden_size=config.hidden_size,
        bert=config,
        weights=weights,
        pooling=recipe.pooling if recipe else None,
        max_positions=config.max_positions,
        files=_describe(files, folder),
        notes=tuple(notes),
    )


def _check_widths(pooling: PoolingRecipe, hidden_size: int, folder: Path) -> None:
    """Hold each Dense layer's input to what comes before it."""
    width = len(pooling.modes) * hidden_size
    for step in pooling.steps:
        if isinstance(step, Dense):
            inputs, outputs = step.kernel.shape
            if inputs != width:
                raise CorruptSource(f"{folder}: a Dense module takes {inputs} values, but gets {width}")
            width = outputs


def _describe(paths: list[Path], folder: Path) -> tuple[SourceFile, ...]:
    return tuple(describe_file(path, folder) for path in paths if path.is_file())


def _read_config(path: Path) -> BertConfig:
    if not path.is_file():
        raise CorruptSource(f"{path}: missing; a Hugging Face folder has one")
    config = read_object(path)
    family = config.get("model_type")
    if family != "bert":
        architectures = ", ".join(config.get("architectures") or ()) or "not named"
        raise UnsupportedModel(
            f"{path}: the encoder family is {family!r} (architectures: {architectures}); only 'bert' can be exported"
        )
    positions = config.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise UnsupportedModel(f"{path}: position_embedding_type is {positions!r}; only 'absolute' can be exported")
    if config.get("is_decoder"):
        raise UnsupportedModel(f"{path}: is_decoder is set; only encoders can be exported")
    activation = config.get("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise UnsupportedModel(f"{path}: hidden_act is {activation!r}; known are {', '.join(sorted(_ACTIVATIONS))}")
    epsilon = config.get("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, int | float) or not epsilon > 0:
        raise CorruptSource(f"{path}: layer_norm_eps is {epsilon!r}, not a positive number")
    hidden, heads = _size(config, "hidden_size", path), _size(config, "num_attention_heads", path)
    if hidden % heads:
        raise CorruptSource(f"{path}: hidden_size {hidden} is no multiple of num_attention_heads {heads}")
    return BertConfig(
        vocab_size=_size(config, "vocab_size", path),
        hidden_size=hidden,
        num_layers=_size(config, "num_hidden_layers", path),
        num_heads=heads,
        intermediate_size=_size(config, "intermediate_size", path),
        max_positions=_size(config, "max_position_embeddings", path),
        type_vocab_size=_size(config, "type_vocab_size", path),
        activation=_ACTIVATIONS[activation],
        layer_norm_eps=float(epsilon),
    )


def _size(config: dict[str, Any], key: str, path: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CorruptSource(f"{path}: {key} is {value!r}, not a positive whole number")
    return value


def _read_tensors(folder: Path) -> tuple[dict[str, np.ndarray], list[Path]]:
    """All tensors of model.safetensors, or of the shards that model.safetensors.index.json lists, as float32."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return _read_safetensors(single), [single]
    if not index.is_file():
        raise CorruptSource(f"{folder}: neither model.safetensors nor model.safetensors.index.json is there")
    listing = read_json(index)
    if not isinstance(listing, dict) or not isinstance(listing.get("weight_map"), dict):
        raise CorruptSource(f"{index}: it has no weight_map")
    tensors: dict[str, np.ndarray] = {}
    shards = sorted({str(name) for name in listing["weight_map"].values()})
    for name in shards:
        if Path(name).name != name:
            raise CorruptSource(f"{index}: the shard {name!r} lies outside the folder")
        if not (folder / name).is_file():
            raise CorruptSource(f"{index}: the shard {name} that it lists is missing")
        tensors.update(_read_safetensors(folder / name))
    missing = sorted(set(listing["weight_map"]) - set(tensors))
    if missing:
        raise CorruptSource(f"{index}: the tensor {missing[0]} that it lists is in no shard")
    return tensors, [index, *(folder / name for name in shards)]


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptSource(f"{path}: not a readable safetensors file (cut short?): {error}") from error
    return {name: np.asarray(value, np.float32) for name, value in tensors.items() if value.dtype.kind not in "iu"}


def _canonical(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    weights = {}
    for name, value in tensors.items():
        name = name.removeprefix("bert.")
        layer = _LAYER.search(name)
        pattern = _LAYER.sub("N", name)
        pattern = pattern.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        if pattern in _NAMES:
            weights[_NAMES[pattern]] = value
            continue
        stem, _, leaf = pattern.rpartition(".")
        if stem not in _NAMES or leaf not in ("weight", "bias"):
            continue
        canonical = _NAMES[stem].replace("N", layer.group() if layer else "N")
        if canonical.endswith("layer_norm"):
            weights[f"{canonical}/{'gamma' if leaf == 'weight' else 'beta'}"] = value
        elif leaf == "weight":
            weights[f"{canonical}/kernel"] = value.T
        else:
            weights[f"{canonical}/bias"] = value
    return weights
