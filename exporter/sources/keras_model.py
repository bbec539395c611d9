"""Saved models that a user fine-tuned with tf_keras around a TF Hub encoder: the SavedModel folder of
``model.save``, a ``.keras`` or an HDF5 file.

The encoder is a ``hub.KerasLayer`` with its weights after training. A SavedModel also has its functions and its
vocabulary; the files have only weights, and name the Hub folder or handle of the rest. Before the encoder are input
layers, or a Hub preprocessing layer. After it is the head (:mod:`.keras_head`).
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...serving.contract import CLASSIFY
from ...serving.interrupts import held
from ..errors import CorruptSource, UnsupportedModel, first_line
from . import hub, keras_config, keras_head, run
from .checkpoint import Checkpoint, Head, describe_files
from .stored import StoredTensor

_HUB_LAYER = "KerasLayer"
_KNOWN = ("InputLayer", _HUB_LAYER, *keras_head.LAYERS)
#: Files of ``model.save`` in a folder.
PARTS = ("saved_model.pb", "keras_metadata.pb", "fingerprint.pb", "variables", "assets")
_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
#: Part of the name of a Keras loss -> function from its logits to probabilities.
_LOSSES = {"binary": "sigmoid", "categorical": "softmax"}


def is_model_file(path: Path) -> bool:
    """Whether this is a file of a whole model, judged by its name."""
    return path.suffix.lower() in keras_config.SUFFIXES and os.path.isfile(path)


def is_folder(path: Path) -> bool:
    """Whether this is the file or the folder of such a model."""
    if is_model_file(path):
        return True
    metadata = path / keras_config.METADATA
    # Hub encoders may have this file too; its contents are not needed for them.
    return metadata.is_file() and f'"{_HUB_LAYER}"'.encode() in metadata.read_bytes()


def read(path: Path) -> Checkpoint:
    """Read a fine-tuned model.

    Raises:
        UnsupportedModel: layers that cannot be exported, or no Hub encoder.
        CorruptSource: it cannot be loaded, or it refers to something missing.
        VocabularyError: the encoder's vocabulary does not fit its embedding table.
    """
    stated = keras_config.read(path)
    keras_config.require_known(stated, _KNOWN, path)
    model = _load(path, stated)
    if len(model.outputs) != 1:
        raise UnsupportedModel(f"{path}: the model has {len(model.outputs)} outputs; expected one")
    encoder = _encoder(model, path)
    length, preprocessor = _inputs(encoder, path)
    head = _head(keras_head.read(model.outputs[0], encoder, path), stated.loss, path)
    variables = {
        each.key: each for each in (_stored(variable, path) for variable in getattr(encoder._func, "variables", ()))
    }
    described = hub.describe(hub.TextLayer(encoder._func, path), variables, path)
    limits = [each for each in (length, described.max_positions) if each]
    made, notes = None, list[str]()
    if path.is_file():
        files = describe_files([path], path.parent)
    else:
        parts = [path / name for name in PARTS]
        files = describe_files([*parts, *sorted(each for part in parts for each in part.rglob("*"))], path)
        made, notes = run.read(path, files, run.VARIABLES)
    if made is not None and head.signature == CLASSIFY.name:
        labels = run.labels(path)
        if len(labels) != len(head.labels):
            raise CorruptSource(f"{path / run.FILE}: {len(labels)} labels, but the model has {len(head.labels)}")
        head = replace(head, labels=labels, notes=())
    return replace(
        described,
        kind="keras",
        hub_layer=partial(hub.TextLayer, encoder._func, path),
        head=head,
        own_tokenizer="tf-text" if preprocessor else "reference",
        max_seq_length=min([*limits, described.max_seq_length]),
        max_positions=min(limits, default=None),
        files=files,
        run=made,
        notes=(*described.notes, *notes),
    )


def _load(path: Path, stated: keras_config.Stated) -> Any:
    with held():
        import tensorflow_hub
        import tensorflow_text  # noqa: F401  registers ops that a preprocessing layer uses
        import tf_keras

    # A folder contains the layers' functions: nothing else is needed.
    objects = {} if path.is_dir() else {_HUB_LAYER: tensorflow_hub.KerasLayer}
    try:
        return tf_keras.models.load_model(path, custom_objects=objects, compile=False)
    # Keras' and TensorFlow's loaders raise many kinds of exceptions.
    except Exception as error:
        handles = [
            each["config"]["handle"]
            for each in stated.states[0]["config"]["layers"]
            if each["class_name"] == _HUB_LAYER and not path.is_dir()
        ]
        more = (
            f"; it has only the weights of the layers from {' and '.join(handles)}: make these available, or "
            "save the model as a folder, model.save('my_classifier')"
            if handles
            else ""
        )
        raise CorruptSource(f"{path}: tf_keras cannot load it: {first_line(error)}{more}") from error


def _encoder(model: Any, path: Path) -> Any:
    """The only text encoder: the layer that takes the three inputs."""
    found = [layer for layer in model.layers if type(layer).__name__ == _HUB_LAYER and _given(layer)]
    if len(found) != 1:
        raise UnsupportedModel(
            f"{path}: expected one hub.KerasLayer that takes {', '.join(_INPUTS)}, found {len(found)}"
        )
    return found[0]


def _given(layer: Any) -> dict[str, Any]:
    """The input tensors of an encoder by input name; empty for any other layer."""
    inputs = layer.input
    if isinstance(inputs, list | tuple):  # before version 3 of the Hub's encoders
        inputs = dict(zip(_INPUTS, inputs, strict=False))
    return inputs if isinstance(inputs, dict) and set(inputs) == set(_INPUTS) else {}


def _inputs(encoder: Any, path: Path) -> tuple[int | None, str | None]:
    """The fixed length of padded texts, and the name of the preprocessing layer, if there are any."""
    given = _given(encoder)
    layers = {name: tensor.node.layer for name, tensor in given.items()}
    kinds = {type(layer).__name__ for layer in layers.values()}
    length = given["input_word_ids"].shape[1]
    if kinds == {"InputLayer"}:
        return length, None
    before = layers["input_word_ids"]
    if kinds == {_HUB_LAYER} and len(set(map(id, layers.values()))) == 1:
        texts = before.input
        if getattr(texts, "dtype", None) == "string" and type(texts.node.layer).__name__ == "InputLayer":
            if length is None:
                raise UnsupportedModel(
                    f"{path}: the layer {before.name} gives rows of variable length; expected a fixed length"
                )
            return length, before.name
    raise UnsupportedModel(
        f"{path}: the encoder {encoder.name} takes its inputs from "
        f"{', '.join(sorted({each.name for each in layers.values()}))}; expected input layers, or one Hub "
        "preprocessing layer that takes texts"
    )


def _stored(variable: Any, path: Path) -> StoredTensor:
    shape, dtype = tuple(variable.shape), variable.dtype
    return StoredTensor(path, variable.name.removesuffix(":0"), shape, dtype.name, dtype.is_floating, variable.numpy)


def _head(stack: keras_head.Stack, loss: Any, path: Path) -> Head:
    if stack.activation is not None:
        return keras_head.head_of(stack, stack.activation, path)
    kind, takes_logits = _loss(loss)
    activation = next((each for part, each in _LOSSES.items() if part in kind.lower()), None) if takes_logits else None
    problem = None
    if activation is not None:
        note = (
            f"model.predict gives logits for the loss {kind}(from_logits=True): scores are their "
            f"{activation}; export with --logits for the logits"
        )
    elif kind and "crossentropy" not in kind.lower():
        problem, note = "regression", f"the model was trained with the loss {kind}: scores are its values"
    else:
        note = (
            "the last layer has no activation, and the file has no loss: scores are the values of "
            "model.predict; for probabilities export with --activation sigmoid or softmax"
        )
    head = keras_head.head_of(stack, activation or "identity", path)
    return replace(head, problem=problem, activation_notes=(note,))


def _loss(loss: Any) -> tuple[str, bool]:
    """The name of a loss, empty if there is none, and whether it takes logits."""
    if isinstance(loss, list) and len(loss) == 1:
        (loss,) = loss
    if isinstance(loss, dict) and "class_name" in loss:
        return str(loss["class_name"]), bool((loss.get("config") or {}).get("from_logits"))
    return (loss, False) if isinstance(loss, str) else ("", False)
