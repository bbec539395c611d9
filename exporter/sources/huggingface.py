"""Hugging Face and sentence-transformers folders: config.json, weights, the tokenizer's files, modules.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import CorruptSource
from ..families import naming_of, read_config
from ..tokenizers.wordpiece import read_rules, vocabulary
from . import files
from .checkpoint import Checkpoint, Dense, PoolingRecipe, SourceFile, describe_file
from .jsonfile import read_object
from .sentence_transformers import read_recipe
from .stored import bind, has

__all__ = ["TOKENIZER_FILES", "is_folder", "read"]

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)


def is_folder(folder: Path) -> bool:
    """Whether this looks like a Hugging Face or sentence-transformers folder."""
    return (folder / "config.json").is_file() or (folder / "modules.json").is_file()


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
    if not config_path.is_file():
        raise CorruptSource(f"{config_path}: missing; a Hugging Face folder has one")
    config = read_config(read_object(config_path), config_path)
    stored = files.read_folder(root)
    naming = naming_of(config.family, stored.style)
    config = replace(config, has_pooler=has(stored.tensors, naming, "pooler/kernel"))
    weights = bind(stored.tensors, config, naming, stored.where, config_path)

    words = vocabulary.require_sound(root)
    rules, length = read_rules.read_folder(root)
    rules = read_rules.fit(rules, config.vocab_size, words)
    notes: list[str] = []
    if recipe:
        _check_widths(recipe.pooling, config.hidden_size, folder)
        if recipe.lowercase and not rules.lowercase:
            rules = replace(rules, lowercase=True, strip_accents=bool(rules.strip_accents))
        length = recipe.max_seq_length or length
        notes += recipe.notes
    paths = [config_path, *stored.files, *(recipe.files if recipe else ())]
    paths += [root / name for name in TOKENIZER_FILES]
    return Checkpoint(
        kind="sentence-transformers" if recipe else "huggingface",
        location=folder,
        tokenizer=rules,
        max_seq_length=min(length or config.max_positions, config.max_positions),
        hidden_size=config.hidden_size,
        encoder=config,
        weights=weights,
        pooling=recipe.pooling if recipe else None,
        max_positions=config.max_positions,
        files=_describe(paths, folder),
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
    return tuple(describe_file(path, folder) for path in dict.fromkeys(paths) if path.is_file())
