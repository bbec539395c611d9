"""From an encoder's outputs to the logits of a fine-tuned head, and from logits to scores.

The layers are those of transformers' ``*ForSequenceClassification`` and ``*ForTokenClassification``, without dropout.
"""

from __future__ import annotations

import tensorflow as tf

from ...sources.checkpoint import Checkpoint, Head
from ...tokenizers.templates import Encoding
from ..encoder import activation
from .plain import Encoder

_SCORES = {"softmax": tf.nn.softmax, "sigmoid": tf.math.sigmoid, "identity": tf.identity}


def head_of(checkpoint: Checkpoint) -> Head:
    """The head of a checkpoint that has one."""
    assert checkpoint.head is not None
    return checkpoint.head


class Scores(tf.Module):
    """The layers of a head, and its activation."""

    def __init__(self, head: Head) -> None:
        super().__init__(name="head")
        self._takes, self._activation = head.takes, _SCORES[head.activation]
        self._layers = [
            (
                tf.Variable(layer.kernel, trainable=False, name="kernel", dtype=tf.float32),
                tf.Variable(layer.bias, trainable=False, name="bias", dtype=tf.float32),
                layer.activation,
            )
            for layer in head.layers
        ]

    def __call__(self, tokens: Encoding, encoder: Encoder) -> tf.Tensor:
        """Scores: float32 ``[batch, labels]``; of a tagger ``[batch, tokens, tags]``, with any values in padding."""
        vectors, pooled = encoder(tokens)
        x = {"pooled": pooled, "first": vectors[:, 0], "tokens": vectors}[self._takes]
        for kernel, bias, name in self._layers:
            x = activation(name)(tf.nn.bias_add(tf.matmul(x, kernel), bias))
        return self._activation(x)


def highest(scores: tf.Tensor, names: tf.Tensor) -> tf.Tensor:
    """The name of the highest score, the first of equal ones: ``[..., names]`` -> string ``[...]``."""
    best = tf.argmax(scores, axis=-1, output_type=tf.int32)
    with tf.device("/CPU:0"):  # where strings are
        return tf.gather(names, best)


def every_row(names: tf.Tensor, tokens: Encoding) -> tf.Tensor:
    """The names once a text: string ``[batch, names]``."""
    with tf.device("/CPU:0"):
        return tf.tile(names[tf.newaxis, :], [tf.shape(tokens.input_mask)[0], 1])
