"""The encoder with trainable weights and dropout, and a head: token ids to logits.

Shape letters: B texts, T tokens of the longest, N tokens of all texts, H hidden, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from ..families import head_of
from ..families.config import EncoderConfig, canonical_shapes
from ..graph.encoder import NativeEncoder, activation
from ..graph.heads.embedding import pool
from ..graph.prepared import prepared
from .dropout import Dropout

#: Standard deviation of a new layer's weights (``initializer_range`` of transformers).
INITIAL = 0.02
#: Places of dropout, each with its own random numbers.
_PLACES = ("embeddings", "attention", "attended", "output", "head_input", "head", "inner", "convolved")


class TrainedEncoder(NativeEncoder):
    """The packed encoder over variables of the canonical names.

    The prepared weights of an exported graph (one product for query, key and value; biases by distance) are computed in
    every step here, so that the gradients are those of the checkpoint's own weights.

    Args:
        config: configuration of the encoder.
        weights: weights by canonical name.
        dropout: dropout rates of the family.
        precision: dtype of the matrix products in a step of training. The weights and their gradients stay in float32,
            and the evaluation is computed in float32, like the served model.
    """

    def __init__(
        self,
        config: EncoderConfig,
        weights: Mapping[str, np.ndarray],
        dropout: Dropout,
        precision: str = "float32",
    ) -> None:
        super().__init__(
            replace(config, num_layers=0, layer_groups=None, has_pooler=False, relative_bias=None), weights
        )
        self._config = config
        self._of_steps = tf.as_dtype(precision)
        activate = self._activation
        self._activation = lambda x: activate(tf.cast(x, tf.float32))  # other dtypes are slow on a CPU, and less exact
        self._rates = {
            "embeddings": dropout.hidden,
            "output": dropout.hidden if dropout.output is None else dropout.output,
            "attended": dropout.attended,
            "attention": dropout.attention,
            "inner": dropout.inner,
            "convolved": dropout.hidden,
        }
        self.values = {
            name: tf.Variable(np.asarray(weights[name], np.float32), name=name) for name in canonical_shapes(config)
        }

    def sequence(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """Vectors of tokens.

        Args:
            ids: int32 ``[B, T]``.
            mask: int32 ``[B, T]``, 1 at real tokens.
            types: int32 ``[B, T]``.
            seed: int32 ``[2]``, seed of dropout in a training step; ``None`` without dropout.

        Returns:
            float32 ``[B, T, H]``; arbitrary values in padding.
        """
        self._dtype = tf.float32 if seed is None else self._of_steps
        self._weights, self._seed = self._made(seed), seed
        return self._encode(ids, mask, types, many=True)

    def _made(self, seed: tf.Tensor | None) -> dict[str, tf.Tensor]:
        """The prepared weights of the graph, and the seed of the dropout before the layers."""
        own = {name: tf.convert_to_tensor(value) for name, value in self.values.items()}
        made = dict(prepared(self._config, own))
        for name, value in made.items():
            if name.endswith(("/kernel", "/bias", "/rows")):
                made[name] = tf.cast(value, self._dtype)
        if seed is not None:
            made["seed"] = tf.random.experimental.stateless_fold_in(seed, self._config.num_layers)
        return made

    def _of_layer(self, index: int) -> Mapping[str, tf.Tensor]:
        # Layers that share weights have separate dropout.
        seed = {} if self._seed is None else {"seed": tf.random.experimental.stateless_fold_in(self._seed, index)}
        return {**super()._of_layer(index), **seed}

    def _dropped(self, x: tf.Tensor, weights: Mapping[str, tf.Tensor], place: str, number: int = 0) -> tf.Tensor:
        return dropped(x, self._rates[place], weights.get("seed"), place, number)

    def _layer_norm(self, x: tf.Tensor, weights: Mapping[str, tf.Tensor], name: str, many: bool) -> tf.Tensor:
        # TensorFlow fuses only constants: with variables this form would only cost more.
        return super()._layer_norm(x, weights, name, many=False)


def dropped(x: tf.Tensor, rate: float, seed: tf.Tensor | None, place: str, number: int = 0) -> tf.Tensor:
    """Dropout whose random numbers depend only on seed and place, so that a repeated step is the same."""
    if seed is None or not rate:
        return x
    own = tf.random.experimental.stateless_fold_in(seed, _PLACES.index(place) + len(_PLACES) * number)
    return tf.nn.experimental.stateless_dropout(x, rate, seed=own, rng_alg="philox")


class Model(tf.Module):
    """Encoder and head of a classifier, a regression or a tagger.

    Args:
        config: shape of the encoder.
        weights: by canonical name.
        dropout: of the family.
        labels: number of labels, L.
        seed: seed of the head's initial weights.
        precision: see :class:`TrainedEncoder`; the head is computed in float32.
        task: transformers' name of the head: ``SequenceClassification`` or ``TokenClassification``.
        stated: config.json of the encoder, with settings of some families' heads.
    """

    def __init__(
        self,
        config: EncoderConfig,
        weights: Mapping[str, np.ndarray],
        dropout: Dropout,
        labels: int,
        seed: int,
        precision: str = "float32",
        task: str = "SequenceClassification",
        stated: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(name="model")
        rng = np.random.default_rng([seed, 3])

        def dense(inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
            kernel = rng.normal(0, INITIAL, (inputs, outputs))
            return kernel.astype(np.float32), np.zeros(outputs, np.float32)

        hidden = config.hidden_size
        self._layers = head_of(config.family, task, stated)
        pooled = self._layers.takes == "pooled"
        if pooled and not config.has_pooler:
            weights = {**weights, **dict(zip(("pooler/kernel", "pooler/bias"), dense(hidden, hidden), strict=True))}
        self.config = replace(config, has_pooler=pooled)
        self.encoder = TrainedEncoder(replace(config, has_pooler=False), weights, dropout, precision)
        # The pooler is the first layer of BERT's head: it is trained even with a frozen encoder.
        self._activation = activation("tanh" if pooled else self._layers.activation)
        made = {"pooler": (weights["pooler/kernel"], weights["pooler/bias"])} if pooled else {}
        for stem in self._layers.names:
            if stem.endswith("layer_norm"):
                made[stem] = np.ones(hidden), np.zeros(hidden)
            else:
                made[stem] = dense(hidden, labels if stem == "head/output" else hidden)
        self._stems = list(made)
        self.head = {
            f"{stem}/{leaf}": tf.Variable(np.asarray(value, np.float32), name=f"{stem}/{leaf}")
            for stem, values in made.items()
            for leaf, value in zip(self._layers.leaves(stem), values, strict=False)  # some layers have no second weight
        }
        self._dropout = dropout

    @property
    def values(self) -> dict[str, tf.Variable]:
        """All weights, by canonical name."""
        return {**self.encoder.values, **self.head}

    def vectors(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """The input vectors of the head, float32; see :meth:`TrainedEncoder.sequence` for the arguments.

        Returns:
            The vector of each text's first token, or the mean of all, ``[B, H]``; for a tagger the vectors of all
            tokens ``[N, H]``, text by text.
        """
        sequence = self.encoder.sequence(ids, mask, types, seed)
        if self._layers.takes == "tokens":
            return tf.boolean_mask(sequence, mask == 1)
        return pool("mean" if self._layers.takes == "mean" else "cls", sequence, mask)

    def logits(self, vectors: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """``[B, H]`` -> ``[B, L]``, or ``[N, H]`` -> ``[N, L]``."""
        x = dropped(vectors, self._dropout.head_input, seed, "head_input")
        for stem in self._stems:
            if stem.endswith("layer_norm"):
                x = self._normalised(x, stem)
                continue
            if stem == "head/output":
                x = dropped(x, self._dropout.head, seed, "head")
            x = tf.matmul(x, self.head[f"{stem}/kernel"])
            if (bias := self.head.get(f"{stem}/bias")) is not None:
                x = tf.nn.bias_add(x, bias)
            x = x if stem == "head/output" else self._activation(x)
        return x

    def _normalised(self, x: tf.Tensor, stem: str) -> tf.Tensor:
        x -= tf.reduce_mean(x, axis=-1, keepdims=True)
        x *= tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + self._layers.epsilon)
        x *= self.head[f"{stem}/gamma"]
        return x + self.head[f"{stem}/beta"] if f"{stem}/beta" in self.head else x
