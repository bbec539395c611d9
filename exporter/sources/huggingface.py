"""Hugging Face and sentence-transformers folders: config.json, weights, the tokenizer's files, modules.json."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...serving.contract import TAG
from ..errors import CorruptSource, UnsupportedModel
from ..families import naming_of, needs_code, read_config
from . import cross_encoder, files, heads, keys, run, tokenizer_files
from .checkpoint import Checkpoint, Dense, PoolingRecipe, describe_files
from .jsonfile import read_object
from .sentence_transformers import MODEL_SETTINGS, read_recipe
from .stored import bind, has

_ADAPTER = "adapter_config.json"


def is_folder(folder: Path) -> bool:
    """Whether this is a Hugging Face or sentence-transformers folder."""
    return any((folder / name).is_file() for name in ("config.json", "modules.json", _ADAPTER))


def read(folder: Path) -> Checkpoint:
    """Read a Hugging Face or sentence-transformers folder with an encoder of a family that can be rebuilt.

    Raises:
        UnsupportedModel: another family, activation, tokenizer or module.
        CorruptSource: files are missing, damaged, or contradict each other.
        VocabularyError: the vocabulary does not fit the embedding table.
    """
    recipe = read_recipe(folder)
    root = recipe.transformer if recipe else folder
    config_path = root / "config.json"
    _refuse_adapters(root)
    if not config_path.is_file():
        raise CorruptSource(f"{config_path}: missing; a Hugging Face folder has one")
    stated = read_object(config_path)
    _refuse_presets(stated, config_path)
    known = stated if needs_code(stated) else {key: value for key, value in stated.items() if key != "auto_map"}
    notes = keys.hold("config", known, config_path)
    config = read_config(stated, config_path)
    stored = files.read_folder(root)
    naming = naming_of(config.family, stored.style)
    config = replace(config, has_pooler=has(stored.tensors, naming, "pooler/kernel", stored.where))
    weights = bind(stored.tensors, config, naming, stored.where, config_path)
    found = heads.Found()
    if recipe is None or recipe.pooling is None:  # an embedding model keeps the class of its base model
        model = recipe.model if recipe else None
        adds = cross_encoder.read(stated, config_path, model, folder / MODEL_SETTINGS)
        found = heads.read(stated, config_path, config, stored, adds)
        if recipe and (found.head is None or found.head.signature == TAG.name):
            raise UnsupportedModel(
                f"{config_path}: a cross-encoder of sentence-transformers, but architectures is "
                f"{stated.get('architectures')!r}; only one ForSequenceClassification can be exported"
            )
    notes += _left(stored, weights.keys_in_files | found.keys, stated, found)

    rules, length, more = tokenizer_files.read_folder(root, config.family)
    notes += more
    rules, more = tokenizer_files.fit(rules, config.vocab_size, root)
    notes += more
    if recipe:
        if recipe.pooling:
            _check_widths(recipe.pooling, config.hidden_size, folder)
        if recipe.lowercase:
            rules = rules.lowercased()
        length = recipe.max_seq_length or length
        notes += recipe.notes
    paths = [config_path, *stored.files, *(recipe.files if recipe else ())]
    paths += [root / name for name in tokenizer_files.TOKENIZER_FILES]
    described = describe_files(paths, folder)
    made, more = run.read(folder, described)
    notes += more
    return Checkpoint(
        kind="sentence-transformers" if recipe else "huggingface",
        location=folder,
        tokenizer=rules,
        max_seq_length=min(length or config.max_positions, config.max_positions),
        hidden_size=config.hidden_size,
        encoder=config,
        weights=weights,
        pooling=recipe.pooling if recipe else None,
        head=found.head,
        unknown_head=found.unknown,
        max_positions=config.max_positions,
        files=described,
        run=made,
        notes=tuple(notes),
    )


def _refuse_adapters(folder: Path) -> None:
    """Refuse an adapter (such as LoRA), alone or together with the weights of its base model."""
    path = folder / _ADAPTER
    if path.is_file():
        adapter = read_object(path)
        kind, base = adapter.get("peft_type", "an adapter"), adapter.get("base_model_name_or_path")
        raise UnsupportedModel(
            f"{path}: the folder has an adapter ({kind}) for the model {base!r}, which rawbert does not apply; merge "
            "the two (peft: merge_and_unload), save the result with its tokenizer, and export that"
        )


def _refuse_presets(config: dict[str, Any], path: Path) -> None:
    package = str(config.get("registered_name") or config.get("module") or "").partition(">")[0].partition(".")[0]
    if package in ("keras_hub", "keras_nlp") or ("class_name" in config and "module" in config):
        raise UnsupportedModel(
            f"{path}: a preset of KerasHub ({config.get('class_name')}), which cannot be exported; use a Hugging Face "
            "folder, Google's checkpoint, or a TF Hub module of the same model"
        )


def _left(stored: files.WeightFiles, used: set[str], config: dict[str, Any], found: heads.Found) -> list[str]:
    """Notes about weights that are part of neither the encoder nor the head, and about a head of pretraining."""
    others = sorted(key for key, tensor in stored.tensors.items() if tensor.floating and key not in used)
    more = f" and {len(others) - 2} more" if len(others) > 2 else ""
    left = f"{', '.join(others[:2])}{more}"
    if found.head:
        return [f"tensors outside the encoder and the head are not exported: {left}"] if others else []
    if not others and not found.pretraining:
        return []
    classes = config.get("architectures")
    model = f" ({', '.join(map(str, classes))})" if isinstance(classes, list) and classes else ""
    what = f"only the encoder of the model{model} is exported"
    return [f"{what}; tensors of its head or others are not exported: {left}" if others else what]


def _check_widths(pooling: PoolingRecipe, hidden_size: int, folder: Path) -> None:
    """Check each Dense layer's input width against the step before it."""
    width = len(pooling.modes) * hidden_size
    for step in pooling.steps:
        if isinstance(step, Dense):
            inputs, outputs = step.kernel.shape
            if inputs != width:
                raise CorruptSource(
                    f"{folder}: a Dense module takes {inputs} values, but the step before it gives {width}"
                )
            width = outputs
