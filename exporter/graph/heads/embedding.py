"""From token vectors to one embedding: pooling, dense layers, normalisation.

Formulas are those of sentence-transformers' ``Pooling``, ``Dense`` and ``Normalize`` modules, without prompts.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from ...sources.checkpoint import Checkpoint, Dense, PoolingRecipe
from ...tokenizers.templates import Encoding
from ..encoder import activation
from .plain import Encoder


def of(checkpoint: Checkpoint) -> EmbeddingHead:
    """The head of a checkpoint's recipe."""
    assert checkpoint.pooling is not None
    return EmbeddingHead(checkpoint.pooling)


class EmbeddingHead(tf.Module):
    """A pooling recipe as a graph."""

    def __init__(self, recipe: PoolingRecipe) -> None:
        super().__init__(name="embedding_head")
        self._modes = recipe.modes
        self._steps = [self._kept(step) if isinstance(step, Dense) else step for step in recipe.steps]

    def _kept(self, layer: Dense) -> tuple[tf.Variable, tf.Variable | None, str]:
        kernel = tf.Variable(layer.kernel, trainable=False, name="kernel", dtype=tf.float32)
        bias = None if layer.bias is None else tf.Variable(layer.bias, trainable=False, name="bias", dtype=tf.float32)
        return kernel, bias, layer.activation

    def __call__(self, tokens: Encoding, encoder: Encoder) -> Sequence[tf.Tensor]:
        """``embedding``."""
        vectors, _ = encoder(tokens)
        return [self.embed(vectors, tokens.input_mask)]

    def embed(self, sequence: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """One embedding per text.

        Args:
            sequence: float32 ``[batch, tokens, hidden]``.
            mask: int32 ``[batch, tokens]``, 1 at real tokens, which come first.

        Returns:
            float32 ``[batch, dim]``.
        """
        x = tf.concat([pool(mode, sequence, mask) for mode in self._modes], axis=-1)
        for step in self._steps:
            if isinstance(step, str):
                # As in torch's normalize: a norm below 1e-12 counts as 1e-12.
                length = tf.sqrt(tf.reduce_sum(tf.square(x), axis=-1, keepdims=True))
                x = x / tf.maximum(length, 1e-12)
            else:
                kernel, bias, name = step
                x = tf.matmul(x, kernel)
                x = activation(name)(x if bias is None else tf.nn.bias_add(x, bias))
        return x


def pool(mode: str, sequence: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """One vector per text, ``[batch, hidden]``."""
    if mode == "cls":
        return sequence[:, 0]
    weights = tf.cast(mask, sequence.dtype)  # [batch, tokens]
    if mode == "lasttoken":
        last = tf.reduce_sum(mask, axis=1) - 1
        return tf.gather(sequence, last, axis=1, batch_dims=1)
    if mode == "max":
        return tf.reduce_max(tf.where(mask[:, :, tf.newaxis] == 1, sequence, sequence.dtype.min), axis=1)
    if mode == "weightedmean":  # the n-th token has weight n
        weights *= tf.cast(tf.range(1, tf.shape(mask)[1] + 1), sequence.dtype)
    total = tf.reduce_sum(weights, axis=1, keepdims=True)  # [batch, 1]
    if mode == "mean_sqrt_len_tokens":
        total = tf.sqrt(total)
    return tf.reduce_sum(sequence * weights[:, :, tf.newaxis], axis=1) / total
