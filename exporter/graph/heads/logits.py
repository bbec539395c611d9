"""From an encoder's outputs to the logits of a fine-tuned head, and from logits to scores.

The layers are those of transformers' ``*ForSequenceClassification`` and ``*ForTokenClassification``, or a user's
layers after a Hub encoder, without dropout.
"""

from __future__ import annotations

import tensorflow as tf

from ...sources.checkpoint import Checkpoint, Dense, Head, LayerNorm
from ...tokenizers.templates import Encoding
from ..encoder import activation
from .embedding import pool
from .plain import Encoder

_SCORES = {"softmax": tf.nn.softmax, "sigmoid": tf.math.sigmoid, "identity": tf.identity}


def head_of(checkpoint: Checkpoint) -> Head:
    """The head of a checkpoint, which must have one."""
    assert checkpoint.head is not None
    return checkpoint.head


class Scores(tf.Module):
    """The layers of a head, and its activation."""

    def __init__(self, head: Head) -> None:
        super().__init__(name="head")
        self._takes, self._activation = head.takes, _SCORES[head.activation]
        self._layers = [_Normal(layer) if isinstance(layer, LayerNorm) else _Linear(layer) for layer in head.layers]

    def __call__(self, tokens: Encoding, encoder: Encoder) -> tf.Tensor:
        """Scores, float32 ``[batch, labels]``; for a tagger ``[batch, tokens, tags]``, with arbitrary values in
        padding."""
        vectors, pooled = encoder(tokens)
        if self._takes == "mean":
            x = pool("mean", vectors, tokens.input_mask)
        else:
            x = {"pooled": pooled, "first": vectors[:, 0], "tokens": vectors}[self._takes]
        for layer in self._layers:
            x = layer(x)
        return self._activation(x)


class _Linear(tf.Module):
    """A dense layer: ``[..., in]`` -> ``[..., out]``."""

    def __init__(self, layer: Dense) -> None:
        super().__init__(name="dense")
        self._kernel = tf.Variable(layer.kernel, trainable=False, name="kernel", dtype=tf.float32)
        bias = layer.bias
        self._bias = None if bias is None else tf.Variable(bias, trainable=False, name="bias", dtype=tf.float32)
        self._activation = activation(layer.activation)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.matmul(x, self._kernel)
        return self._activation(x if self._bias is None else tf.nn.bias_add(x, self._bias))


class _Normal(tf.Module):
    """Normalisation of the last axis: ``[..., width]`` -> ``[..., width]``."""

    def __init__(self, layer: LayerNorm) -> None:
        super().__init__(name="layer_norm")
        self._gamma = tf.Variable(layer.gamma, trainable=False, name="gamma", dtype=tf.float32)
        self._beta = tf.Variable(layer.beta, trainable=False, name="beta", dtype=tf.float32)
        self._epsilon = layer.epsilon

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        x -= tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(x), axis=-1, keepdims=True)
        return x / tf.sqrt(variance + self._epsilon) * self._gamma + self._beta


def highest(scores: tf.Tensor, names: tf.Tensor) -> tf.Tensor:
    """The name of the highest score, the first of equal ones: ``[..., names]`` -> string ``[...]``."""
    best = tf.argmax(scores, axis=-1, output_type=tf.int32)
    with tf.device("/CPU:0"):  # string ops run only there
        return tf.gather(names, best)


def every_row(names: tf.Tensor, tokens: Encoding) -> tf.Tensor:
    """The names for every text: string ``[batch, names]``."""
    with tf.device("/CPU:0"):
        return tf.tile(names[tf.newaxis, :], [tf.shape(tokens.input_mask)[0], 1])
