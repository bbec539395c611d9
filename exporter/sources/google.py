"""Folders of a TensorFlow checkpoint with bert_config.json and vocab.txt: Google's original BERTs, and tf-models'."""

from dataclasses import replace
from pathlib import Path

from ..errors import CorruptSource, UnsupportedModel
from ..families import bert, naming_of, read_config
from ..families.names import OBJECT_BASED
from . import keys, tokenizer_files
from .checkpoint import Checkpoint, describe_files
from .files import tf_checkpoint
from .jsonfile import read_object
from .stored import bind, has

_CONFIG = "bert_config.json"
#: Of google-research/albert, whose checkpoints are refused: their tokenizer is Python code around SentencePiece.
_ALBERT = "albert_config.json"


def is_folder(folder: Path) -> bool:
    """Whether this is such a folder, or Google's of an ALBERT."""
    return any((folder / name).is_file() for name in (_CONFIG, _ALBERT)) and not (folder / "config.json").is_file()


def read(folder: Path) -> Checkpoint:
    """Read a checkpoint of Google's BERT or of tf-models.

    Raises:
        UnsupportedModel: a configuration of another architecture.
        CorruptSource: files are missing, damaged, or contradict each other.
        VocabularyError: the vocabulary does not fit the embedding table.
    """
    if (folder / _ALBERT).is_file():
        raise UnsupportedModel(
            f"{folder / _ALBERT}: a checkpoint of Google's ALBERT (albert_config.json), a format that cannot be "
            "exported; take the same weights in Hugging Face's format (albert/albert-base-v2 for albert_base_v2) or, "
            "with the Hub's preprocessing, from TF Hub (https://tfhub.dev/tensorflow/albert_en_base/3)"
        )
    prefix = tf_checkpoint.find(folder)
    if prefix is None:
        raise CorruptSource(
            f"{folder}: no weights found; expected a TensorFlow checkpoint (*.index, *.data-*) for {_CONFIG}"
        )
    tensors, style = tf_checkpoint.read(prefix)
    naming, object_based = naming_of("bert", style), style is OBJECT_BASED
    stated = read_object(folder / _CONFIG)
    notes = keys.hold("config", stated, folder / _CONFIG)
    if "model_type" in stated:  # written by transformers, in its own format
        config = read_config(stated, folder / _CONFIG)
    else:
        stated, note = bert.with_original_activation(stated, tf_models=object_based)
        config = bert.read_config(stated, folder / _CONFIG)
        notes += [note] if note else []
    config = replace(config, has_pooler=has(tensors, naming, "pooler/kernel", Path(f"{prefix}.index")))
    weights = bind(tensors, config, naming, Path(f"{prefix}.index"), folder / _CONFIG)

    if not (folder / "vocab.txt").is_file() and not (folder / "tokenizer.json").is_file():
        raise CorruptSource(f"{folder / 'vocab.txt'}: missing; the vocabulary of the checkpoint is needed")
    rules, length, more = tokenizer_files.read_folder(folder, None)
    notes += more
    rules, more = tokenizer_files.fit(rules, config.vocab_size, folder / "vocab.txt")
    notes += more
    paths = [folder / _CONFIG, *tf_checkpoint.files_of(prefix)]
    paths += [folder / name for name in tokenizer_files.TOKENIZER_FILES]
    return Checkpoint(
        kind="tf-models" if object_based else "google",
        location=folder,
        tokenizer=rules,
        max_seq_length=min(length or config.max_positions, config.max_positions),
        hidden_size=config.hidden_size,
        encoder=config,
        weights=weights,
        max_positions=config.max_positions,
        files=describe_files(paths, folder),
        notes=tuple(notes),
    )
