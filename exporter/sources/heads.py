"""The head of a fine-tuned Hugging Face folder: its task, layers, labels and activation."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...serving.contract import CLASSIFY, SCORE, TAG
from ..errors import CorruptSource, UnsupportedModel
from ..families import head_of
from ..families.config import EncoderConfig
from ..families.heads import HeadLayers
from ..families.names import Naming
from . import files
from .checkpoint import Dense, Head, LayerNorm
from .cross_encoder import CrossEncoder
from .stored import StoredTensor, require_finite

_CLASSIFICATION, _TAGGING = "SequenceClassification", "TokenClassification"
#: Classes of models with a head of pretraining: only their encoder is exported.
_PRETRAINING = ("MaskedLM", "PreTraining", "CausalLM", "LMHeadModel")
_PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")


class Found(NamedTuple):
    """The result of reading a folder's class.

    Attributes:
        head: the head; ``None`` if there is none that can be exported.
        unknown: the class, if heads of its task cannot be exported.
        keys: keys of the head's tensors in their files.
        pretraining: whether the class has a head of pretraining or of text generation.
    """

    head: Head | None = None
    unknown: str | None = None
    keys: frozenset[str] = frozenset()
    pretraining: bool = False


def read(
    config: Mapping[str, Any],
    path: Path,
    encoder: EncoderConfig,
    stored: files.WeightFiles,
    cross_encoder: CrossEncoder | None,
) -> Found:
    """The head of the class in config.json's ``architectures``.

    Args:
        config: config.json.
        path: path of config.json, for errors.
        encoder: configuration of the encoder.
        stored: the weights.
        cross_encoder: settings of a cross-encoder of sentence-transformers.

    Raises:
        CorruptSource: a weight is missing, or labels do not fit the weights.
        UnsupportedModel: an unknown problem type or activation.
    """
    classes = config.get("architectures")
    name = str(classes[0]) if isinstance(classes, list) and classes else ""
    named = re.fullmatch(r"\w+?(?:For(?=[A-Z])|(?=LMHeadModel))(\w+)", name)
    if named is None or named[1] in _PRETRAINING:
        return Found(pretraining=named is not None)
    task = named[1]
    if task not in (_CLASSIFICATION, _TAGGING):
        return Found(unknown=name)
    layers = head_of(encoder.family, task, config, path)
    if layers.takes == "pooled" and not encoder.has_pooler:
        raise CorruptSource(f"{stored.where}: the pooler's tensors are missing; {name} needs them")
    made, count, keys = _read_layers(layers, encoder, stored, name)
    labels, notes = _labels(config, path, count)
    if task == _TAGGING:
        signature, activation, why = TAG.name, "softmax", list[str]()
    else:
        signature = _signature(config, count)
        activation, why = _activation(config, path, count, cross_encoder)
    head = Head(
        signature=signature,
        takes=layers.takes,
        layers=made,
        labels=labels,
        activation=activation,
        problem=config.get("problem_type") if task == _CLASSIFICATION else None,
        pair=cross_encoder is not None,
        notes=tuple(notes) if signature != SCORE.name else (),
        activation_notes=tuple(why),
    )
    return Found(head, None, keys)


def _signature(config: Mapping[str, Any], count: int) -> str:
    # A multi-label model with one label is still a classifier.
    is_score = count == 1 and config.get("problem_type") != "multi_label_classification"
    return SCORE.name if is_score else CLASSIFY.name


def _read_layers(
    layers: HeadLayers, encoder: EncoderConfig, stored: files.WeightFiles, name: str
) -> tuple[tuple[Dense | LayerNorm, ...], int, frozenset[str]]:
    """The head's layers, the number of outputs of the last one, and the keys of their tensors."""
    naming, width, keys = Naming(layers.names, stored.style), encoder.hidden_size, list[str]()
    made: list[Dense | LayerNorm] = []
    count = 0
    for stem in layers.names:
        spelled = {leaf: naming.spellings(f"{stem}/{leaf}") for leaf in layers.leaves(stem)}
        tensors = {leaf: _find(stored, spellings, name) for leaf, spellings in spelled.items()}
        keys += [tensor.key for tensor in tensors.values()]
        if stem == "head/output":
            count = int(np.prod(tensors["bias"].shape))
        outputs = count if stem == "head/output" else width
        shapes = {"kernel": (width, outputs), "bias": (outputs,), "gamma": (width,), "beta": (width,)}
        if stored.style.transposed:
            shapes["kernel"] = (outputs, width)
        if any(tensor.shape != shapes[leaf] for leaf, tensor in tensors.items()):
            first, *others = tensors.items()
            more = "".join(f" and its {leaf} {list(tensor.shape)}" for leaf, tensor in others)
            raise CorruptSource(
                f"{first[1]} has shape {list(first[1].shape)}{more}, which does not fit vectors of {width}"
            )
        values = {leaf: _value(tensor, stored, leaf) for leaf, tensor in tensors.items()}
        if stem.endswith("layer_norm"):
            beta = values.get("beta", np.zeros(width, np.float32))
            made.append(LayerNorm(values["gamma"], beta, layers.epsilon))
        else:
            activation = layers.activation if stem == "head/dense" else "identity"
            made.append(Dense(values["kernel"], values.get("bias"), activation))
    return tuple(made), count, frozenset(keys)


def _value(tensor: StoredTensor, stored: files.WeightFiles, leaf: str) -> np.ndarray:
    if not tensor.floating:
        raise UnsupportedModel(f"{tensor} is {tensor.dtype}; floating-point weights can be exported")
    require_finite(tensor)
    value = tensor.read()
    return np.asarray(value.T if leaf == "kernel" and stored.style.transposed else value, np.float32)


def _find(stored: files.WeightFiles, spellings: list[str], name: str) -> StoredTensor:
    """The head's tensor with one of these names, after any prefix; an optimizer's copies have one more prefix."""
    found = {
        key.removesuffix(spelling): key
        for spelling in spellings
        for key in stored.tensors
        if re.search(rf"(^|[./]){re.escape(spelling)}$", key)
    }
    own = [key for prefix, key in found.items() if not any(prefix != each and prefix.endswith(each) for each in found)]
    if not own:
        raise CorruptSource(f"{stored.where}: the tensor {' or '.join(spellings)} is missing; {name} needs it")
    if len(own) > 1:
        raise UnsupportedModel(f"{stored.where}: expected one head, found {', '.join(sorted(own))}")
    return stored.tensors[own[0]]


def _labels(config: Mapping[str, Any], path: Path, count: int) -> tuple[tuple[str, ...], list[str]]:
    """The names of the head's outputs from id2label, and notes."""
    named = config.get("id2label")
    if named is None:
        stated = config.get("num_labels", config.get("_num_labels"))
        if stated is not None and stated != count:
            raise CorruptSource(f"{path}: num_labels is {stated!r}, but the head's weights are for {count}")
        labels = tuple(f"LABEL_{at}" for at in range(count))
        return labels, [
            f"config.json has no names of labels (id2label): they are numbered, {labels[0]} to {labels[-1]}"
        ]
    if not isinstance(named, dict) or set(named) != {str(at) for at in range(len(named))}:
        raise CorruptSource(f"{path}: id2label is {named!r:.200}, not an object with the keys 0, 1, 2 and so on")
    if len(named) != count:
        raise CorruptSource(f"{path}: id2label names {len(named)} labels, but the head's weights are for {count}")
    labels = tuple(str(named[str(at)]) for at in range(count))
    for at, label in enumerate(labels):
        if not isinstance(named[str(at)], str | int) or not label or not _is_unicode(label):
            raise CorruptSource(f"{path}: id2label {at} is {named[str(at)]!r}, not the name of a label")
    notes = []
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        notes.append(f"config.json gives several labels the same name: {', '.join(twice)}")
    other = config.get("label2id")
    if isinstance(other, dict) and any(other.get(label, at) != at for at, label in enumerate(labels)):
        notes.append("label2id of config.json contradicts id2label; id2label is used, as in transformers")
    return labels, notes


def _is_unicode(text: str) -> bool:
    return not re.search("[\ud800-\udfff]", text)


def _activation(
    config: Mapping[str, Any], path: Path, count: int, cross_encoder: CrossEncoder | None
) -> tuple[str, list[str]]:
    """The function from logits to scores of sentence-transformers' predict or transformers' pipeline, and notes."""
    problem = config.get("problem_type")
    if problem not in (None, *_PROBLEMS):
        raise UnsupportedModel(f"{path}: problem_type is {problem!r}; set it to {', '.join(_PROBLEMS)}")
    if problem == "single_label_classification" and count == 1:
        raise CorruptSource(
            f"{path}: problem_type is {problem}, but there is one label; expected regression, or two labels"
        )
    if cross_encoder is not None:
        activation = cross_encoder.activation or ("sigmoid" if count == 1 else "identity")
        notes = list(cross_encoder.notes)
        if count > 1 and activation == "identity":
            notes.append("scores are logits, like those of CrossEncoder.predict for several labels")
        return activation, notes
    if problem == "regression":
        return "identity", ["the head is a regression: scores are its values"] if count > 1 else []
    if problem == "multi_label_classification":
        return "sigmoid", []
    if count > 1:
        return "softmax", []
    return "sigmoid", [
        "config.json has one label and no problem_type: the score is the sigmoid of the logit, as in transformers' "
        "text-classification pipeline; for the value itself export with --logits, or set problem_type to "
        "regression"
    ]
