"""The reference for a model fine-tuned with tf_keras around a Hub encoder: the model's own answers, checked again.

Keras loads the model and computes the answers of the user's own code. In addition the head is computed in numpy
float64 (:mod:`.heads.keras`), from the encoder's output for a text without padding; both results must agree.
"""

import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...serving.contract import CLASSIFY, POOLED, SCORE, SEQUENCE, TAG
from ..hashing import file_sha256
from ..recipe import Recipe, TokenizerOptions
from .heads.keras import Layer, logits
from .labels import Labels
from .numerics import ACTIVATIONS
from .reference import HubReference
from .tokens import ReferenceTokens

_POOLED, _SEQUENCE = POOLED.outputs[0].name, SEQUENCE.outputs[0].name
_LABELS, _TAGS, _SCORE = (each.outputs[0].name for each in (CLASSIFY, TAG, SCORE))

_FILES = (".keras", ".h5", ".hdf5")
_MODULE = re.compile(
    r"keras\.(layers|initializers|regularizers|constraints)|tf_keras\.src\.(engine|layers)\..+|tensorflow_hub\.\w+"
)


def is_model(source: Path) -> bool:
    """Whether a source is such a model: a file, or a folder with a ``hub.KerasLayer``."""
    if source.is_file():
        return source.suffix.lower() in _FILES
    path = source / "keras_metadata.pb"
    return path.is_file() and b'"class_name": "KerasLayer"' in path.read_bytes()


class KerasReference(HubReference):
    """The user's own model; attributes as in :class:`.HubReference`.

    Args:
        source: the file or folder.
        recipe: recipe of the export.
        options: tokenizer options.

    Raises:
        ValueError: the model contains code other than its layers, or its answers differ from those of its layers.
    """

    def __init__(self, source: Path, recipe: Recipe, options: TokenizerOptions) -> None:
        import tensorflow_hub as hub
        import tensorflow_text  # noqa: F401  registers ops that a preprocessing layer uses
        import tf_keras

        loss = _loss_of(source)
        objects = {"KerasLayer": hub.KerasLayer} if source.is_file() else None
        model = tf_keras.models.load_model(os.fspath(source), custom_objects=objects, compile=False)
        hubs = [layer for layer in model.layers if type(layer).__name__ == "KerasLayer"]
        (encoder,) = (layer for layer in hubs if {"vocab_file", "sp_model_file"} & set(dir(layer._func)))
        super().__init__(encoder._func, recipe.max_seq_length, options)
        self._of_inputs = tf_keras.Model(encoder.input, model.output)
        head = [layer for layer in model.layers if layer not in hubs and type(layer).__name__ != "InputLayer"]
        self._head = [Layer(type(each).__name__, each.get_config(), each.get_weights()) for each in head]
        self._takes = _SEQUENCE if head[0].input.shape.rank == 3 else _POOLED
        self._length = (list(encoder.input.values()) if self._takes_dict else encoder.input)[0].shape[1]
        limits = [each for each in (self._length, self.max_seq_length) if each]
        self.max_seq_length = min(limits, default=None)
        before = next((layer for layer in hubs if layer is not encoder), None)
        if before is not None and "tokenizer" not in recipe.chosen:
            self.tokenize = _Preprocessed(self.tokenize, before._func, self._length, recipe.max_seq_length)
        self._activation = _last_of(self._head, loss) or recipe.activation or "linear"
        self.labels = _labels(model.output.shape, self._activation)
        if names := _names(source):
            self.labels = self.labels._replace(names=names)

    def __call__(self, ids: list[int], types: list[int] | None = None) -> dict[str, np.ndarray]:
        """Outputs for the tokens of one text or pair, and their types, 0 if left out."""
        outputs = super().__call__(ids, types)
        assert self.labels is not None
        values, last = logits(outputs[self._takes], self._head)
        own = self._padded(ids, types)
        if not np.allclose(own[: len(ids)] if own.ndim == 2 else own, _SCORES[last](values), rtol=1e-5, atol=1e-5):
            raise ValueError("the model's answers differ from those of its encoder and head layers")
        if self._activation == "sigmoid" and values.shape[-1] == 1:  # two labels: the first one's logit is 0
            values = np.concatenate([np.zeros_like(values), values], axis=-1)
        return {**outputs, self.labels.output: values[0] if self.labels.output == _SCORE else values}

    def _padded(self, ids: list[int], types: list[int] | None) -> np.ndarray:
        """The model's own output for one text, padded as its inputs require."""
        rows = np.zeros((3, 1, self._length or len(ids)), np.int32)
        rows[:, 0, : len(ids)] = ids, np.ones(len(ids)), types or np.zeros(len(ids))
        names = ("input_word_ids", "input_mask", "input_type_ids")
        fed = dict(zip(names, rows, strict=True)) if self._takes_dict else list(rows)
        return np.asarray(self._of_inputs(fed, training=False), np.float64)[0]


class _Preprocessed:
    """The tokens of the model's own preprocessing layer, as long as its limit is not exceeded.

    Args:
        tokenize: function for offsets and counts, and for the tokens of longer texts, see :mod:`.tokens`.
        layer: the layer's function.
        length: the layer's maximum length.
        max_seq_length: the export's maximum length.
    """

    def __init__(self, tokenize: Any, layer: Any, length: int, max_seq_length: int) -> None:
        self._tokenize, self._layer, self._length, self._max = tokenize, layer, length, max_seq_length

    def __call__(self, *raw: str | bytes) -> ReferenceTokens:
        """Tokenize one text or pair."""
        import tensorflow as tf

        tokens: ReferenceTokens = self._tokenize(*raw)
        if len(raw) > 1 or (tokens.count > self._max and self._max != self._length):
            return tokens
        given = self._layer(tf.constant([raw[0]]))
        ids = np.asarray(given["input_word_ids"])[0, : int(np.sum(given["input_mask"]))].tolist()
        return tokens if ids == tokens.ids else ReferenceTokens(ids, None, None, tokens.count, [0] * len(ids))


def _softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


_SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": _softmax,
    "sigmoid": ACTIVATIONS["sigmoid"],
    "linear": lambda x: x,
}


def _last_of(head: list[Layer], loss: Any) -> str | None:
    """The activation from logits to scores, according to the last layer or to a loss on logits; ``None`` if neither
    states one."""
    named = [layer for layer in head if "activation" in layer.config or layer.kind in ("ReLU", "Softmax")]
    last = named[-1].config.get("activation", named[-1].kind.lower())
    if last != "linear":
        return str(last) if last in _SCORES else "linear"
    if isinstance(loss, dict) and loss.get("config", {}).get("from_logits"):
        return "sigmoid" if "Binary" in loss["class_name"] else "softmax"
    return None


def _labels(shape: Any, activation: str) -> Labels:
    two = activation == "sigmoid" and shape[-1] == 1
    names = tuple(f"LABEL_{at}" for at in range(2 if two else shape[-1]))
    output = _TAGS if len(shape) == 3 else _LABELS if len(names) > 1 else _SCORE
    return Labels(output, names, "softmax" if two else {"linear": "identity"}.get(activation, activation))


def _names(source: Path) -> tuple[str, ...]:
    """The labels of a model of ``rawbert finetune``, from its run.json, if that belongs to these weights."""
    run, weights = source / "run.json", source / "variables" / "variables.data-00000-of-00001"
    if not run.is_file():
        return ()
    said = json.loads(run.read_text(encoding="utf-8"))
    is_of_it = file_sha256(weights) == said.get("model_sha256")
    return tuple(said["problem"]["labels"]) if is_of_it else ()


def _loss_of(source: Path) -> Any:
    """The loss of a compiled model, from its file; ``None`` if there is none.

    Raises:
        ValueError: the file contains code to run.
    """
    if source.is_dir():
        from tf_keras.protobuf import saved_metadata_pb2

        nodes = saved_metadata_pb2.SavedMetadata.FromString((source / "keras_metadata.pb").read_bytes()).nodes
        states = [json.loads(node.metadata) for node in nodes]
    elif zipfile.is_zipfile(source):
        states = [json.loads(zipfile.ZipFile(source).read("config.json"))]
    else:
        import h5py

        with h5py.File(source) as stream:
            states = [{name: json.loads(stream.attrs[name]) for name in stream.attrs if name.endswith("_config")}]
    training = [states[0].pop(name, None) or {} for name in ("training_config", "compile_config")]
    text = json.dumps(states)
    code = {name for name in re.findall('"module": "(.*?)"', text) if not _MODULE.fullmatch(name)}
    code |= set(re.findall('"class_name": "(Lambda|__lambda__|TFOpLambda)"', text))
    code |= set(re.findall('"function": "(.*?)"', text)) - {"__operators__.getitem"}
    if code:
        raise ValueError(f"{source}: it contains code to run: {', '.join(sorted(code))}")
    return next((each["loss"] for each in training if each.get("loss")), None)
