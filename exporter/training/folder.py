"""The folder of a run: a fine-tuned model in the format of transformers and the exporter, and the run's own files.

::

    config.json, tokenizer files, README.md      of the encoder, with the head's labels
    model.safetensors                            the best epoch so far, in transformers' names
    run.json                                     settings, data hashes, metrics
    report.html, report.json, predictions.jsonl  of the best epoch, on the validation rows
    checkpoints/state.safetensors                the state for continuing an interrupted run
    logs/                                        for TensorBoard
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import scratch
from ..errors import OutputError, UnsupportedModel, os_errors_as
from ..families import FAMILIES, head_of
from ..families.config import EncoderConfig
from ..families.names import TORCH, Naming
from ..families.reading import SIZES
from ..sources import Location, license, run, tokenizer_files
from ..sources.checkpoint import Checkpoint, describe_files
from ..sources.jsonfile import read_object
from ..sources.sentence_transformers import read_recipe
from ..tokenizers.wordpiece.spec import WordPieceSpec
from . import states
from .labels import REGRESSION, TAGGING, Problem

#: All files of a run, for ``--restart``; other files in the folder stay.
FILES = (
    run.FILE, run.WEIGHTS, "config.json", "README.md", "report.html", "report.json", "predictions.jsonl",
    *tokenizer_files.TOKENIZER_FILES, "saved_model.pb", "keras_metadata.pb", "fingerprint.pb",
)  # fmt: skip
FOLDERS = ("checkpoints", "logs", "variables", "assets")

#: Family -> its classes in transformers, and the prefix of its weights in them.
_CLASSES = {
    "bert": ("Bert", "bert"),
    "distilbert": ("DistilBert", "distilbert"),
    "electra": ("Electra", "electra"),
    "mpnet": ("MPNet", "mpnet"),
    "roberta": ("Roberta", "roberta"),
    "xlm-roberta": ("XLMRoberta", "roberta"),
    "camembert": ("Camembert", "roberta"),
    "albert": ("Albert", "albert"),
    "modernbert": ("ModernBert", "model"),
    "deberta-v2": ("DebertaV2", "deberta"),
    "nomic_bert": ("NomicBert", "nomic_bert"),
}
#: Keys of config.json about a model's task or origin.
_REPLACED = (
    "architectures", "id2label", "label2id", "num_labels", "_num_labels", "problem_type", "sentence_transformers",
    "sbert_ce_default_activation_function", "finetuning_task", "_name_or_path", "torch_dtype", "dtype",
)  # fmt: skip
#: Fields of :class:`EncoderConfig` -> keys of BERT's config.json; its activations.
_FIELDS = {**SIZES, "type_vocab_size": "type_vocab_size", "layer_norm_eps": "layer_norm_eps"}
_HIDDEN_ACT = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "tanh": "tanh", "silu": "silu"}
#: Fields of a WordPiece tokenizer -> keys of tokenizer_config.json.
_TOKENIZER = {
    "lowercase": "do_lower_case",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
}
_LICENSES = ("LICEN[SC]E*", "NOTICE*")
#: torch's classes of activations, for the settings of a cross-encoder.
_ACTIVATIONS = {"softmax": "Softmax", "sigmoid": "Sigmoid", "identity": "Identity"}


@dataclass(frozen=True)
class Origin:
    """The encoder's own files.

    Attributes:
        config: config.json, or its equivalent for a checkpoint of another format.
        path: its path, for errors.
        tokenizer: folder of tokenizer files to copy; ``None`` if they are built from the next two.
        settings: tokenizer_config.json.
        vocab: the tokens in order.
    """

    config: Mapping[str, Any]
    path: Path
    tokenizer: Path | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    vocab: Sequence[str | None] = ()


def origin_of(checkpoint: Checkpoint) -> Origin:
    """The files of an encoder.

    Raises:
        UnsupportedModel: a kind that cannot be trained.
    """
    encoder, spec = checkpoint.encoder, checkpoint.tokenizer
    if checkpoint.kind in ("hub", "google", "tf-models") and encoder is not None and isinstance(spec, WordPieceSpec):
        assert encoder.activation is not None
        config = {
            **{key: getattr(encoder, field) for field, key in _FIELDS.items()},
            "hidden_act": _HIDDEN_ACT[encoder.activation],
        }
        settings = {key: getattr(spec, field) for field, key in _TOKENIZER.items()}
        return Origin(config, checkpoint.location, None, {"tokenizer_class": "BertTokenizer", **settings}, spec.vocab)
    if checkpoint.kind not in ("huggingface", "sentence-transformers"):
        raise UnsupportedModel(
            f"{checkpoint.location}: a {checkpoint.kind} checkpoint cannot be fine-tuned; use a Hugging "
            "Face or sentence-transformers folder, a BERT of TF Hub, or Google's"
        )
    recipe = read_recipe(checkpoint.location)
    root = recipe.transformer if recipe else checkpoint.location
    return Origin(read_object(root / "config.json"), root / "config.json", root)


def head_task(problem: Problem) -> str:
    """transformers' name of a problem's head, without the family."""
    return "TokenClassification" if problem.kind == TAGGING else "SequenceClassification"


def begin(
    folder: Path, origin: Origin, checkpoint: Checkpoint, location: Location, length: int, problem: Problem, pair: bool
) -> None:
    """Write the files that exist from the start: settings, tokenizer, licence.

    Raises:
        OutputError: it cannot be written.
        UnsupportedModel: the folder's tokenizer would differ from the encoder's.
    """
    assert checkpoint.encoder is not None
    family = checkpoint.encoder.family
    config = {key: value for key, value in origin.config.items() if key not in _REPLACED}
    config |= {
        "model_type": family,
        "architectures": [f"{_CLASSES[family][0]}For{head_task(problem)}"],
        "id2label": {str(at): label for at, label in enumerate(problem.labels)},
        "label2id": {label: at for at, label in enumerate(problem.labels)},
        "dtype": "float32",
    }
    if problem.kind != TAGGING:
        config["problem_type"] = problem.problem_type
    if pair:  # marks a model of two texts for sentence-transformers, and for exports
        activation = f"torch.nn.modules.activation.{_ACTIVATIONS[problem.activation]}"
        if problem.activation == "identity":
            activation = "torch.nn.modules.linear.Identity"
        config["sentence_transformers"] = {"activation_fn": activation, "version": "5.0.0"}
    with os_errors_as(OutputError, f"{folder}: cannot be written"):
        copied = [origin.tokenizer / name for name in tokenizer_files.TOKENIZER_FILES] if origin.tokenizer else []
        for path in copied:
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        if origin.vocab:
            scratch.replace(folder / "vocab.txt", "".join(f"{token or ''}\n" for token in origin.vocab))
        settings = folder / "tokenizer_config.json"
        stated = read_object(settings) if settings.is_file() else origin.settings
        _write(settings, {**stated, "model_max_length": length})
        _write(folder / "config.json", config)
    write_about(folder, location)
    spec, found, _ = tokenizer_files.read_folder(folder, family)
    spec, _ = tokenizer_files.fit(spec, checkpoint.encoder.vocab_size, folder)
    if spec != checkpoint.tokenizer or found != length:
        raise UnsupportedModel(
            f"{checkpoint.location}: its tokenizer has settings outside of its tokenizer files (sentence-transformers' "
            "do_lower_case is one), which a fine-tuned folder cannot have; save them in tokenizer_config.json first"
        )


def write_about(folder: Path, location: Location) -> None:
    """Write README.md, and copy licences.

    Raises:
        OutputError: it cannot be written.
    """
    stated_licence = license.stated(location.folder)
    front = f"---\nlicense: {json.dumps(stated_licence['name'])}\n---\n\n" if stated_licence else ""
    text = f"{front}# {folder.name}\n\nFine-tuned by `rawbert finetune`; see run.json and report.html.\n"
    with os_errors_as(OutputError, f"{folder}: cannot be written"):
        scratch.replace(folder / "README.md", text)
        for path in (path for name in _LICENSES for path in location.folder.glob(name) if path.is_file()):
            shutil.copyfile(path, folder / path.name)


def write_model(folder: Path, config: EncoderConfig, values: Mapping[str, np.ndarray], problem: Problem) -> str:
    """Write weights with transformers' names: the reverse of :mod:`..sources.huggingface`.

    Args:
        folder: folder of the run.
        config: configuration of the encoder.
        values: weights by canonical name.
        problem: the problem; the scale of a regression is folded into the last layer.

    Returns:
        The file's sha256.
    """
    layers = head_of(config.family, head_task(problem))
    encoder, head = Naming(FAMILIES[config.family].NAMES, TORCH), Naming(layers.names, TORCH)
    _, prefix = _CLASSES[config.family]
    tensors = {}
    for name, value in values.items():
        is_head = name.startswith("head/")
        if name.startswith("head/output/") and problem.kind == REGRESSION:
            value = value * np.float32(problem.scale)
            if name.endswith("bias"):
                value = value + np.float32(problem.mean)
        key = head.spellings(name)[0] if is_head else f"{prefix}.{encoder.spellings(name)[0]}"
        tensors[key] = value.T if name.endswith("/kernel") else value
    path = folder / run.WEIGHTS
    states.save(path, tensors, {"format": "pt"})
    (described,) = describe_files([path], folder)
    return described.sha256


def read_run(folder: Path) -> dict[str, Any] | None:
    """The contents of run.json; ``None`` if it does not exist.

    Raises:
        CorruptSource: it is not JSON.
    """
    path = folder / run.FILE
    return read_object(path) if path.is_file() else None


def write_run(folder: Path, state: Mapping[str, Any]) -> None:
    """Write run.json by one rename.

    Raises:
        OutputError: it cannot be written.
    """
    with os_errors_as(OutputError, f"{folder}: cannot be written"):
        _write(folder / run.FILE, state)


def clear(folder: Path) -> None:
    """Remove the files of a run.

    Raises:
        OutputError: it cannot be removed.
    """
    with os_errors_as(OutputError, f"{folder}: cannot be removed"):
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        for name in FOLDERS:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)


def _write(path: Path, state: Mapping[str, Any]) -> None:
    scratch.replace(path, json.dumps(state, indent=2, ensure_ascii=False) + "\n")
