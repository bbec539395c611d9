"""A transformer encoder, rebuilt from its weights according to its :class:`..families.EncoderConfig`.

Shape letters: B texts, T tokens of the longest text, N tokens of all texts, E width of the embedding tables (H, or
narrower and projected), H hidden, A heads, D = H / A, I intermediate. In a group: g texts, t tokens of the longest.
"""

import functools
import math
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from ..families.config import EncoderConfig
from .attention import Attention
from .packing import Packing
from .prepared import Array, prepared

#: Weights by name; in the weights of a single layer, names do not include its number.
_Weights = Mapping[str, Array]

#: The fixed epsilon of the fused operation that TensorFlow's remapper (2.15 to 2.21) puts in place of a normalisation
#: on a CPU, independent of the graph's epsilon. So the graph uses this epsilon too, and scales its input to
#: compensate: LN(k x; epsilon) = LN(x; epsilon / k^2).
_FUSED_EPSILON = 1e-3


def activation(name: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """The activation with a canonical name: gelu (erf), gelu_tanh, relu, tanh, sigmoid, silu or identity."""
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
    """An encoder over padded token ids that does no work for padding.

    Args:
        config: configuration of the encoder; its ``activation`` must be set.
        weights: weights by canonical name, see :mod:`..families.config`.
        precision: dtype of the matrix products and of their weights, one of :data:`..recipe.PRECISIONS`. Sums over many
            values (normalisation, softmax, residual connections) stay in float32.
    """

    def __init__(self, config: EncoderConfig, weights: Mapping[str, np.ndarray], precision: str = "float32") -> None:
        super().__init__(name="encoder")
        assert config.activation is not None
        self._config = config
        self._activation = activation(config.activation)
        self._dtype = tf.as_dtype(precision)
        self._weights = {name: self._kept(name, value) for name, value in prepared(config, weights)}

    @property
    def config(self) -> EncoderConfig:
        """Configuration of the encoder."""
        return self._config

    def _kept(self, name: str, value: np.ndarray) -> tf.Variable | np.ndarray:
        value = np.asarray(value, np.float32)
        dtype = self._dtype if name.endswith(("/kernel", "/bias", "/rows")) else tf.float32
        if value.ndim == 1:  # small: a constant saves the read, and normalisation is fused only with constants
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
            ``sequence_output`` float32 ``[B, T, H]`` (arbitrary values in padding), and ``pooled_output``
            float32 ``[B, H]``, ``None`` without a pooler.
        """
        with tf.device("/CPU:0"):  # the mask is on the CPU, and tf.cond reads its condition there
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
        """``[B, T]`` -> ``[B, T, H]``; arbitrary values in padding."""
        with tf.device("/CPU:0"):  # the mask is on the CPU: on a GPU each shape and slice would wait for a copy
            packing = Packing(mask, self._config.num_heads, many)
            positions, padding_idx = packing.columns, self._config.padding_idx
            if padding_idx is not None:
                counted = tf.cast(ids != padding_idx, tf.int32)
                positions = packing.pack(tf.cumsum(counted, axis=1) * counted + padding_idx)
        w, ids, config = self._weights, packing.pack(ids), self._config
        x = tf.gather(w["embeddings/word"], ids)  # [N, E]
        if config.has_position_table:
            x += tf.gather(w["embeddings/position"], positions)
        if "embeddings/type" in w:
            x += w["embeddings/type"][0] if types is None else tf.gather(w["embeddings/type"], packing.pack(types))
        x = self._dropped(self._layer_norm(x, w, "embeddings", many), w, "embeddings")
        if config.projects:
            x = tf.cast(self._dense(x, w, "embeddings/project"), tf.float32)  # [N, H]

        embedded = x
        # saved_model.pb contains one function for each kind of layer; TensorFlow inlines it before it optimizes the
        # graph.
        local = config.local.layers if config.local else ()
        layers = {}
        for is_local in {index in local for index in range(config.num_layers)}:
            attention = Attention(config, packing, w, is_local)
            layer = functools.partial(self._layer, attention=attention, many=many)
            layers[is_local] = tf.function(layer, autograph=False)
        for index in range(config.num_layers):
            x = layers[index in local](x, self._of_layer(index))
            if index == 0 and config.convolution is not None:
                x = self._layer_norm(x + self._convolved(embedded, packing), w, "convolution", many)
        if config.normalises_first:
            x = self._layer_norm(x, w, "final", many)
        return packing.unpack(x)

    def _convolved(self, x: tf.Tensor, packing: Packing) -> tf.Tensor:
        """The convolution over the embeddings, with its activation: ``[N, H]`` -> float32 ``[N, H]``."""
        assert self._config.convolution is not None
        near = packing.neighbours(x, self._config.convolution.width)  # [N, width * H]
        convolved = tf.cast(self._dense(near, self._weights, "convolution"), tf.float32)
        convolved = self._dropped(convolved, self._weights, "convolved")
        return activation(self._config.convolution.activation)(convolved)

    def _of_layer(self, index: int) -> _Weights:
        """Weights of a layer, by name without its number."""
        prefix = f"layer_{self._config.stored_layer(index)}/"
        return {name.removeprefix(prefix): each for name, each in self._weights.items() if name.startswith(prefix)}

    def _layer(self, x: tf.Tensor, weights: _Weights, attention: Attention, many: bool) -> tf.Tensor:
        """``[N, H]`` -> ``[N, H]``."""
        if self._config.normalises_first:
            # In some families the first layer has no normalisation here, because the embeddings are normalised.
            is_first = "attention/layer_norm/gamma" not in weights
            taken = x if is_first else self._layer_norm(x, weights, "attention", many)
            x += self._attended(taken, weights, attention)
            return x + self._fed(self._layer_norm(x, weights, "output", many), weights)
        x = self._layer_norm(x + self._attended(x, weights, attention), weights, "attention", many)
        return self._layer_norm(x + self._fed(x, weights), weights, "output", many)

    def _attended(self, x: tf.Tensor, weights: _Weights, attention: Attention) -> tf.Tensor:
        """Attention with its dense layers: ``[N, H]`` -> float32 ``[N, H]``."""
        qkv = self._dense(x, weights, "attention/qkv")  # [N, 3H]
        contexts = attention(qkv, weights, lambda each, group: self._dropped(each, weights, "attention", group))
        attended = self._dense(contexts, weights, "attention/output")
        return self._dropped(tf.cast(attended, tf.float32), weights, "attended")

    def _fed(self, x: tf.Tensor, weights: _Weights) -> tf.Tensor:
        """The feed-forward layer: ``[N, H]`` -> float32 ``[N, H]``."""
        inner = self._dense(x, weights, "intermediate")  # [N, I], or [N, 2I]
        if self._config.is_gated:
            inner, gate = tf.split(inner, 2, axis=-1)
            inner = self._activation(inner)
            inner *= tf.cast(gate, inner.dtype)
        else:
            inner = self._activation(inner)
        inner = self._dropped(inner, weights, "inner")
        return self._dropped(tf.cast(self._dense(inner, weights, "output"), tf.float32), weights, "output")

    def _dropped(self, x: tf.Tensor, weights: _Weights, place: str, number: int = 0) -> tf.Tensor:
        """``x`` unchanged: training overrides this method with dropout."""
        return x

    def _dense(self, x: tf.Tensor, weights: _Weights, name: str) -> tf.Tensor:
        """``[N, in]`` -> ``[N, out]``, in the encoder's precision."""
        x = tf.matmul(tf.cast(x, self._dtype), weights[f"{name}/kernel"])
        return tf.nn.bias_add(x, weights[f"{name}/bias"]) if f"{name}/bias" in weights else x

    def _layer_norm(self, x: tf.Tensor, weights: _Weights, name: str, many: bool) -> tf.Tensor:
        """Normalise the last axis; population variance, epsilon inside the root.

        ``many``: use the form that TensorFlow fuses on a CPU. The fused operation reads ``x`` once instead of seven
        times, but has a start-up cost that is too high for a single text.
        """
        gamma = weights[f"{name}/layer_norm/gamma"]
        beta = weights.get(f"{name}/layer_norm/beta", np.zeros(gamma.shape, np.float32))
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
