"""A transformer encoder rebuilt from its weights, as its :class:`..families.EncoderConfig` says.

Shape letters: B texts, T tokens of the longest text, N tokens of all, E width of the embedding tables (H, or narrower
and projected), H hidden, A heads, D = H / A, I intermediate; g texts and t tokens of the longest of a group.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from ..families.config import EncoderConfig, RelativeBias, canonical_shapes
from .packing import Group, Packing

#: By name; a layer's without its number in front.
_Weights = Mapping[str, tf.Tensor | tf.Variable | np.ndarray]

#: The epsilon of the operation that TensorFlow's remapper puts in place of a normalisation on a CPU, whatever epsilon
#: the graph says (from 2.15 to 2.21 at least). So the graph says this one too, and what it normalises is multiplied to
#: suit: LN(k x; epsilon) = LN(x; epsilon / k^2).
_FUSED_EPSILON = 1e-3


def activation(name: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """The activation of a canonical name: gelu (erf), gelu_tanh, relu, tanh, sigmoid, silu or identity."""
    return {
        "gelu": lambda x: tf.nn.gelu(x, approximate=False),
        "gelu_tanh": lambda x: tf.nn.gelu(x, approximate=True),
        "relu": tf.nn.relu,
        "tanh": tf.math.tanh,
        "sigmoid": tf.math.sigmoid,
        "silu": tf.nn.silu,
        "identity": tf.identity,
    }[name]


class NativeEncoder(tf.Module):
    """An encoder over padded token ids, whose padding is left out of the work.

    Args:
        config: shape of the encoder; its ``activation`` must be set.
        weights: by canonical name, see :mod:`..families.config`.
        precision: dtype of the matrix products and of their weights, one of :data:`..recipe.PRECISIONS`. Whatever adds
            up many values (normalisation, softmax, the sums that residual connections make) stays in float32.
    """

    def __init__(self, config: EncoderConfig, weights: Mapping[str, np.ndarray], precision: str = "float32") -> None:
        super().__init__(name="encoder")
        assert config.activation is not None
        self._config = config
        self._activation = activation(config.activation)
        self._dtype = tf.as_dtype(precision)
        self._weights = {name: self._kept(name, value) for name, value in _prepared(config, weights)}

    @property
    def config(self) -> EncoderConfig:
        """Shape of the encoder."""
        return self._config

    def _kept(self, name: str, value: np.ndarray) -> tf.Variable | np.ndarray:
        value = np.asarray(value, np.float32)
        dtype = self._dtype if name.endswith(("/kernel", "/bias")) else tf.float32
        if value.ndim == 1:  # small: a constant, which costs no reading; normalisation is fused only with such
            return value.astype(dtype.as_numpy_dtype)
        return tf.Variable(tf.cast(value, dtype), trainable=False, name=name)

    def __call__(
        self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Encode.

        Args:
            ids: int32 ``[B, T]``; T is at most the number of positions.
            mask: int32 ``[B, T]``, 1 at real tokens.
            types: int32 ``[B, T]``; 0 if left out.

        Returns:
            ``sequence_output`` float32 ``[B, T, H]`` (padding holds whatever came out), and ``pooled_output``
            float32 ``[B, H]``, ``None`` where the checkpoint has no pooler.
        """
        with tf.device("/CPU:0"):  # where the mask comes from, and where tf.cond asks
            single = tf.logical_and(tf.shape(mask)[0] == 1, tf.reduce_all(mask == 1))
        sequence = tf.cond(
            single,
            lambda: self._encode(ids, mask, types, many=False),
            lambda: self._encode(ids, mask, types, many=True),
        )
        if not self._config.has_pooler:
            return sequence, None
        pooled = self._dense(sequence[:, 0], self._weights, "pooler")
        return sequence, tf.math.tanh(tf.cast(pooled, tf.float32))

    def _encode(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor | None, many: bool) -> tf.Tensor:
        """``[B, T]`` -> ``[B, T, H]``; padding holds whatever came out."""
        with tf.device("/CPU:0"):  # where the mask comes from: on a GPU each shape and slice would wait for a copy
            packing = Packing(mask, self._config.num_heads, many)
            positions, padding_idx = packing.columns, self._config.padding_idx
            if padding_idx is not None:
                counted = tf.cast(ids != padding_idx, tf.int32)
                positions = packing.pack(tf.cumsum(counted, axis=1) * counted + padding_idx)
        w, ids = self._weights, packing.pack(ids)
        x = tf.gather(w["embeddings/word"], ids) + tf.gather(w["embeddings/position"], positions)  # [N, E]
        if "embeddings/type" in w:
            x += w["embeddings/type"][0] if types is None else tf.gather(w["embeddings/type"], packing.pack(types))
        x = self._dropped(self._layer_norm(x, w, "embeddings", packing.many), w, "embeddings")
        if self._config.projects:
            x = tf.cast(self._dense(x, w, "embeddings/project"), tf.float32)  # [N, H]

        biases = [self._biases(group) for group in packing.groups]

        def layer(x: tf.Tensor, weights: _Weights) -> tf.Tensor:
            return self._layer(x, weights, packing, biases)

        # In saved_model.pb a layer stands once; TensorFlow puts it in place of each call before it optimizes the graph.
        once = tf.function(layer, autograph=False)
        for index in range(self._config.num_layers):
            x = once(x, self._of_layer(index))
        return packing.unpack(x)

    def _of_layer(self, index: int) -> _Weights:
        """A layer's weights, by name without its number."""
        prefix = f"layer_{self._config.stored_layer(index)}/"
        return {name.removeprefix(prefix): each for name, each in self._weights.items() if name.startswith(prefix)}

    def _biases(self, group: Group) -> list[tf.Tensor]:
        """What is added to a group's attention scores in every layer; each fits ``[g, A, t, t]``."""
        biases = [] if group.bias is None else [group.bias]
        if self._config.relative_bias is not None:
            with tf.device("/CPU:0"):
                away = group.columns[tf.newaxis, :] - group.columns[:, tf.newaxis] + self._config.max_positions - 1
            biases.append(tf.gather(self._weights["attention/relative_bias"], away, axis=1))  # [A, t, t]
        return biases

    def _layer(self, x: tf.Tensor, weights: _Weights, packing: Packing, biases: list[list[tf.Tensor]]) -> tf.Tensor:
        """``[N, H]`` -> ``[N, H]``."""
        qkv = self._dense(x, weights, "attention/qkv")  # [N, 3H]
        attended = self._dense(self._attend(qkv, weights, packing, biases), weights, "attention/output")
        attended = self._dropped(tf.cast(attended, tf.float32), weights, "attended")
        x = self._layer_norm(x + attended, weights, "attention", packing.many)
        inner = self._activation(self._dense(x, weights, "intermediate"))  # [N, I]
        inner = self._dropped(tf.cast(self._dense(inner, weights, "output"), tf.float32), weights, "output")
        return self._layer_norm(x + inner, weights, "output", packing.many)

    def _attend(self, qkv: tf.Tensor, weights: _Weights, packing: Packing, biases: list[list[tf.Tensor]]) -> tf.Tensor:
        """Multi-head self-attention of every text: ``[N, 3H]`` -> ``[N, H]``, before the output projection."""
        heads, hidden = self._config.num_heads, self._config.hidden_size
        rows = tf.reshape(qkv, [-1, hidden // heads])  # [N * 3 * A, D]
        contexts = []
        for number, (parts, added) in enumerate(zip(packing.split(rows), biases, strict=True)):
            query, key, value = tf.unstack(parts)  # each [g, A, t, D]
            scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)  # [g, A, t, t]
            for bias in added:
                scores += bias
            probabilities = self._dropped(tf.nn.softmax(scores), weights, "attention", number)
            contexts.append(tf.matmul(tf.cast(probabilities, self._dtype), value))  # [g, A, t, D]
        return tf.reshape(packing.join(contexts), [-1, hidden])

    def _dropped(self, x: tf.Tensor, weights: _Weights, place: str, number: int = 0) -> tf.Tensor:
        """``x``: dropout is for training, which puts it here."""
        return x

    def _dense(self, x: tf.Tensor, weights: _Weights, name: str) -> tf.Tensor:
        """``[N, in]`` -> ``[N, out]``, in the encoder's precision."""
        x = tf.cast(x, self._dtype)
        return tf.nn.bias_add(tf.matmul(x, weights[f"{name}/kernel"]), weights[f"{name}/bias"])

    def _layer_norm(self, x: tf.Tensor, weights: _Weights, name: str, many: bool) -> tf.Tensor:
        """Normalise the last axis; population variance, epsilon inside the root.

        ``many``: write it as TensorFlow fuses it on a CPU. The fused operation goes over ``x`` once instead of seven
        times, and costs more than that to begin with, which a single text does not bring in again.
        """
        gamma, beta = (weights[f"{name}/layer_norm/{leaf}"] for leaf in ("gamma", "beta"))
        if many:
            x *= math.sqrt(_FUSED_EPSILON / self._config.layer_norm_eps)
        mean = tf.reduce_mean(x, axis=1, keepdims=True)
        if many:
            variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axis=1, keepdims=True)
            scale = tf.math.rsqrt(variance + _FUSED_EPSILON) * gamma
            return x * scale + (beta - mean * scale)
        centred = x - mean
        variance = tf.reduce_mean(tf.square(centred), axis=1, keepdims=True)
        return centred * (tf.math.rsqrt(variance + self._config.layer_norm_eps) * gamma) + beta


def _prepared(config: EncoderConfig, weights: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The weights as the graph takes them, one after the other, by name."""
    for name in canonical_shapes(config):
        if name == "attention/relative_bias":
            assert config.relative_bias is not None
            yield name, by_distance(weights[name], config.relative_bias, config.max_positions)
        elif not re.search("attention/(query|key|value)/", name):
            yield name, weights[name]
    # Attention scores are divided by sqrt(D): the weights of the query are, once and for all.
    scale = np.float32(math.sqrt(config.hidden_size // config.num_heads))
    for index in range(config.stored_layers):
        for leaf in ("kernel", "bias"):
            prefix = f"layer_{index}/attention"
            query, key, value = (weights[f"{prefix}/{part}/{leaf}"] for part in ("query", "key", "value"))
            # One product in place of three: query, key and value side by side, [H, 3H].
            yield f"{prefix}/qkv/{leaf}", np.concatenate([query / scale, key, value], axis=-1)


def by_distance(table: np.ndarray, bias: RelativeBias, positions: int) -> np.ndarray:
    """Relative attention bias (see :class:`RelativeBias`) by head and distance, so that the graph need only look it up.

    Args:
        table: ``[buckets, heads]``, as it was learned.
        bias: which bucket a distance belongs to.
        positions: most tokens of a text.

    Returns:
        float32 ``[heads, 2 * positions - 1]``: column ``positions - 1 + d`` for a key that is ``d`` after its query.
    """
    return np.ascontiguousarray(np.asarray(table, np.float32)[buckets(bias, positions)].T)


def buckets(bias: RelativeBias, positions: int) -> np.ndarray:
    """The bucket of each distance, int64 ``[2 * positions - 1]``, in the order of :func:`by_distance`."""
    distance = np.arange(1 - positions, positions)
    half = bias.buckets // 2
    exact = half // 2
    away = np.abs(distance)
    # float32, as the models are trained with: a logarithm that is whole must fall on the same side.
    ratio = np.log(np.maximum(away, 1).astype(np.float32) / exact) / np.float32(math.log(bias.max_distance / exact))
    far = exact + (ratio * (half - exact)).astype(np.int64)
    return np.where(away < exact, away, np.minimum(far, half - 1)) + np.where(distance > 0, half, 0)
