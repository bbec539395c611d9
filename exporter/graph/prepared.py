"""The weights of a checkpoint in the graph's form, with everything computed that can be computed in advance.

In an export they are numpy arrays; in training they are variables, and this is computed in every step.
"""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from ..families.config import Disentangled, EncoderConfig, canonical_shapes
from .positions import buckets, turns

#: A weight.
Array: TypeAlias = np.ndarray | tf.Tensor | tf.Variable

#: Weights that :func:`prepared` converts; all others are used unchanged.
_REMADE = re.compile(
    "layer_[0-9]+/gate/|attention/(relative_bias$|distances|(distance_)?(query|key)/|(value|qkv)/)|convolution/kernel"
)


def prepared(config: EncoderConfig, weights: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Yield name and value of each weight of a graph.

    Unchanged weights have their canonical names. The others are::

        attention/relative_bias        [heads, 2 * positions - 1], by distance
        rotary/THETA                   [positions, D], cosines and sines
        layer_N/attention/qkv/kernel   [H, 3H], query part divided by sqrt(D * terms); bias [3H]
        layer_N/attention/distance_keys/rows, distance_queries/rows    [A, 2 * span, D], queries divided in the same way
        convolution/kernel             [width * H, H]
    """
    for name in canonical_shapes(config):
        if not _REMADE.search(name) and not (config.has_gate_layer and "/intermediate/" in name):
            yield name, weights[name]
    if (bias := config.relative_bias) is not None:
        table = tf.gather(weights["attention/relative_bias"], buckets(bias, config.max_positions))
        yield "attention/relative_bias", tf.transpose(table)
    for theta in config.thetas:
        yield f"rotary/{theta}", turns(theta, config.max_positions, config.head_size)
    if config.convolution is not None:
        yield "convolution/kernel", tf.reshape(weights["convolution/kernel"], [-1, config.hidden_size])
    distances = config.disentangled
    # Attention scores are divided by sqrt(D * terms). Dividing the weights of the query once has the same effect.
    scale = np.float32(math.sqrt(config.head_size * (distances.terms if distances else 1)))
    for index in range(config.stored_layers):
        prefix = f"layer_{index}/attention"
        for leaf in ("kernel", "bias") if config.attention_bias else ("kernel",):
            if config.has_qkv:
                query, key, value = tf.split(weights[f"{prefix}/qkv/{leaf}"], 3, axis=-1)
            else:
                query, key, value = (weights[f"{prefix}/{part}/{leaf}"] for part in ("query", "key", "value"))
            # One product in place of three: query, key and value are concatenated.
            yield f"{prefix}/qkv/{leaf}", tf.concat([query / scale, key, value], axis=-1)
        if config.has_gate_layer:
            for leaf in ("kernel", "bias") if config.feed_forward_bias else ("kernel",):
                name = f"layer_{index}/intermediate/{leaf}"
                yield name, tf.concat([weights[name], weights[f"layer_{index}/gate/{leaf}"]], axis=-1)
        if distances is None:
            continue
        for part, is_there in (("key", distances.has_keys), ("query", distances.has_queries)):
            if is_there:
                rows = _of_distances(config, distances, weights, f"{prefix}/{part}", f"{prefix}/distance_{part}")
                name = {"key": "distance_keys", "query": "distance_queries"}[part]
                yield f"{prefix}/{name}/rows", rows / scale if part == "query" else rows


def _of_distances(
    config: EncoderConfig, distances: Disentangled, weights: Mapping[str, Array], shared: str, own: str
) -> tf.Tensor:
    """A layer's projection of the distance vectors: ``[A, 2 * span, D]``.

    Args:
        config: configuration of the encoder.
        distances: parameters of its attention.
        weights: weights by canonical name.
        shared, own: name of the dense layer for tokens, and of the one for distances.
    """
    name = shared if distances.shares_projections else own
    # On the CPU, because a GPU would round to TF32.
    with tf.device("/CPU:0") if tf.executing_eagerly() else contextlib.nullcontext():
        x = tf.convert_to_tensor(weights["attention/distances"])
        if distances.is_normalised:
            gamma, beta = (weights[f"attention/distances/layer_norm/{leaf}"] for leaf in ("gamma", "beta"))
            x -= tf.reduce_mean(x, axis=1, keepdims=True)
            variance = tf.reduce_mean(tf.square(x), axis=1, keepdims=True)
            x = x * tf.math.rsqrt(variance + config.layer_norm_eps) * gamma + beta
        x = tf.matmul(x, weights[f"{name}/kernel"]) + weights[f"{name}/bias"]
    return tf.transpose(tf.reshape(x, [-1, config.num_heads, config.head_size]), [1, 0, 2])
