"""The head of a Keras model: the layers between a Hub encoder and the output, ready for building a graph."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...serving.contract import CLASSIFY, SCORE, TAG
from ..errors import UnsupportedModel
from .checkpoint import Dense, Head, LayerNorm

#: Keras' names of activations -> rawbert's. ``softmax`` must be the last one.
ACTIVATIONS = {
    "linear": "identity", "relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "gelu": "gelu", "silu": "silu",
    "swish": "silu", "softmax": "softmax",
}  # fmt: skip
#: Outputs of an encoder that a head can take.
_TAKES = {"pooled_output": "pooled", "default": "pooled", "sequence_output": "tokens"}


class Stack(NamedTuple):
    """The layers between an encoder and an output.

    Attributes:
        takes: input of the first layer, see :class:`.checkpoint.Head`.
        layers: the layers in order.
        activation: function from the last layer's outputs to scores: ``softmax``, ``sigmoid``, ``identity`` after
            another activation, ``None`` if the model does not state it.
    """

    takes: str
    layers: tuple[Dense | LayerNorm, ...]
    activation: str | None


def read(output: Any, encoder: Any, where: Path) -> Stack:
    """The layers of a model's head.

    Args:
        output: the ``KerasTensor`` of its output.
        encoder: its ``hub.KerasLayer``.
        where: its file, for errors.

    Raises:
        UnsupportedModel: a layer, or a setting of one, that cannot be exported.
    """
    nodes: list[Any] = []
    tensor = output
    while tensor.node.layer is not encoder:
        _require_known(tensor.node.layer, where)
        nodes.insert(0, tensor.node)
        tensor = tensor.node.keras_inputs[0]
    takes = _taken(tensor, where)
    layers: list[Dense | LayerNorm] = []
    for node in nodes:
        layer, kind = node.layer, type(node.layer).__name__
        if kind in _POOLING:
            if takes != "tokens" or layers:
                raise UnsupportedModel(
                    f"{where}: the layer {layer.name} ({kind}) can be exported only directly after sequence_output"
                )
            takes = _POOLING[kind](node, tensor, where)
        elif kind in _LAYERS:
            layers.append(_LAYERS[kind](layer, where))
        elif kind in _ACTIVATIONS:
            _activate(layers, _ACTIVATIONS[kind](layer, where), int(layer.input.shape[-1]))
    if not any(isinstance(each, Dense) for each in layers):
        raise UnsupportedModel(f"{where}: expected a head with a dense layer between the encoder and the output")
    if any(isinstance(each, Dense) and each.activation == "softmax" for each in layers[:-1]):
        raise UnsupportedModel(f"{where}: layers after a softmax; expected the softmax last")
    last = layers[-1]
    if isinstance(last, Dense) and last.activation in ("softmax", "sigmoid"):
        return Stack(takes, (*layers[:-1], replace(last, activation="identity")), last.activation)
    is_linear = isinstance(last, LayerNorm) or last.activation == "identity"
    return Stack(takes, tuple(layers), None if is_linear else "identity")


def head_of(stack: Stack, activation: str, where: Path) -> Head:
    """The head of a stack of layers, with numbered labels.

    One output with a sigmoid is the probability of the second of two labels: with 0 as the logit of the first label,
    softmax gives the same (:math:`e^z / (e^0 + e^z) = 1 / (1 + e^{-z})`).

    Raises:
        UnsupportedModel: a softmax of one output, which is always 1.
    """
    layers, count = stack.layers, _outputs(stack.layers)
    if count == 1 and activation == "softmax":
        raise UnsupportedModel(f"{where}: a softmax of one output is always 1; expected sigmoid, or two outputs")
    if count == 1 and activation == "sigmoid":
        last = layers[-1]
        if not isinstance(last, Dense):
            raise UnsupportedModel(f"{where}: expected a dense layer before the sigmoid")
        kernel = np.concatenate([np.zeros_like(last.kernel), last.kernel], axis=1)
        bias = np.concatenate([np.zeros_like(last.bias), last.bias])
        layers, count, activation = (*layers[:-1], replace(last, kernel=kernel, bias=bias)), 2, "softmax"
    signature = TAG if stack.takes == "tokens" else SCORE if count == 1 else CLASSIFY
    labels = tuple(f"LABEL_{at}" for at in range(count))
    named = f"a Keras model has no names of labels: they are numbered, {labels[0]} to {labels[-1]}; see --labels"
    notes = () if signature is SCORE else (named,)
    return Head(signature.name, stack.takes, layers, labels, activation, notes=notes)


def _outputs(layers: tuple[Dense | LayerNorm, ...]) -> int:
    return next(layer.kernel.shape[1] for layer in reversed(layers) if isinstance(layer, Dense))


def _require_known(layer: Any, where: Path) -> None:
    if (kind := type(layer).__name__) not in LAYERS:
        raise UnsupportedModel(
            f"{where}: the layer {layer.name} ({kind}) is between the encoder and the output, and cannot be exported; "
            f"use {', '.join(LAYERS)}"
        )
    if layer.compute_dtype != "float32":
        raise UnsupportedModel(
            f"{where}: the layer {layer.name} computes in {layer.compute_dtype}; expected float32: build the model "
            "again with the policy float32, set its weights, and save that"
        )


def _taken(tensor: Any, where: Path) -> str:
    """The name of an encoder output."""
    outputs = tensor.node.outputs
    if isinstance(outputs, list | tuple):  # before version 3 of the Hub's encoders
        outputs = dict(zip(("pooled_output", "sequence_output"), outputs, strict=False))
    if not isinstance(outputs, dict):  # of a layer with output_key
        outputs = {tensor.node.layer.get_config().get("output_key"): outputs}
    found = next((name for name, each in outputs.items() if each is tensor), "another output")
    if found not in _TAKES:
        raise UnsupportedModel(f"{where}: the head takes {found} of the encoder; use {', '.join(_TAKES)}")
    return _TAKES[found]


def _activate(layers: list[Dense | LayerNorm], name: str, width: int) -> None:
    """Append an activation: to the last layer if that has none, or else as a separate layer with the identity."""
    last = layers[-1] if layers else None
    if isinstance(last, Dense) and last.activation == "identity":
        layers[-1] = replace(last, activation=name)
    elif name != "identity":
        layers.append(Dense(np.eye(width, dtype=np.float32), np.zeros(width, np.float32), name))


def _activation(layer: Any, where: Path) -> str:
    name = layer.get_config()["activation"]
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise UnsupportedModel(
            f"{where}: the layer {layer.name} has the activation {name!r}; use {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]


def _plain(name: str, settings: Mapping[str, Any]) -> Callable[[Any, Path], str]:
    """The reader of an activation layer with these settings."""

    def read(layer: Any, where: Path) -> str:
        config = layer.get_config()
        if odd := {key: config[key] for key, value in settings.items() if config[key] != value}:
            raise UnsupportedModel(f"{where}: the layer {layer.name} has {odd}; expected {dict(settings)}")
        return name

    return read


def _dense(layer: Any, where: Path) -> Dense:
    bias = layer.bias.numpy() if layer.use_bias else np.zeros(layer.units, np.float32)
    return Dense(layer.kernel.numpy(), bias, _activation(layer, where))


def _layer_norm(layer: Any, where: Path) -> LayerNorm:
    _last_axis(layer, where)
    gamma, beta = _vectors(layer, "gamma", "beta")
    return LayerNorm(gamma.astype(np.float32), beta.astype(np.float32), float(layer.epsilon))


def _batch_norm(layer: Any, where: Path) -> Dense:
    """Batch normalisation after training: a factor and an addend for each value."""
    _last_axis(layer, where)
    gamma, beta, mean, variance = _vectors(layer, "gamma", "beta", "moving_mean", "moving_variance")
    scale = gamma / np.sqrt(variance + layer.epsilon)
    return Dense(np.diag(scale).astype(np.float32), (beta - mean * scale).astype(np.float32), "identity")


def _last_axis(layer: Any, where: Path) -> None:
    axes, rank = np.atleast_1d(layer.axis), layer.input.shape.rank
    if [int(axis) % rank for axis in axes] != [rank - 1]:
        raise UnsupportedModel(f"{where}: the layer {layer.name} normalises the axes {axes}; expected the last one")


def _vectors(layer: Any, *names: str) -> list[np.ndarray]:
    """Weights of a normalisation, float64; neutral values for those that it does not have."""
    width = int(layer.input.shape[-1])
    found = [getattr(layer, name, None) for name in names]
    return [
        np.full(width, float(name == "gamma")) if value is None else value.numpy().astype(np.float64)
        for name, value in zip(names, found, strict=True)
    ]


def _sliced(node: Any, tensor: Any, where: Path) -> str:
    everything = {"start": None, "stop": None, "step": None}
    if list(node.call_kwargs.get("slice_spec", ())) not in ([everything, 0], [everything, 0, everything]):
        raise UnsupportedModel(
            f"{where}: the layer {node.layer.name} takes a part of sequence_output other than the first token; "
            "expected sequence_output[:, 0, :]"
        )
    return "first"


def _averaged(node: Any, tensor: Any, where: Path) -> str:
    given = tensor.node.call_args[0]
    mask = given["input_mask"] if isinstance(given, dict) else given[1]
    if node.call_kwargs.get("mask") is not mask or node.layer.keepdims or node.layer.data_format != "channels_last":
        raise UnsupportedModel(
            f"{where}: the layer {node.layer.name} also averages over padding, so its result depends on the amount of "
            "padding; expected GlobalAveragePooling1D()(sequence_output, mask=input_mask)"
        )
    return "mean"


#: Class of a layer from ``sequence_output`` to one vector -> reader of the head's ``takes``.
_POOLING: Mapping[str, Callable[[Any, Any, Path], str]] = {
    "SlicingOpLambda": _sliced,
    "GlobalAveragePooling1D": _averaged,
}
_LAYERS: Mapping[str, Callable[[Any, Path], Dense | LayerNorm]] = {
    "Dense": _dense,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
}
_ACTIVATIONS: Mapping[str, Callable[[Any, Path], str]] = {
    "Activation": _activation,
    "ReLU": _plain("relu", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}),
    "Softmax": _plain("softmax", {"axis": -1}),
}
#: Layers without effect after training.
_NOTHING = ("Dropout", "SpatialDropout1D", "AlphaDropout", "GaussianDropout", "GaussianNoise")
#: Classes of layers that a head may have.
LAYERS = (*_LAYERS, *_ACTIVATIONS, *_POOLING, *_NOTHING)
