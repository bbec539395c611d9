"""BERT rebuilt from its weights (Devlin et al., 2018, https://arxiv.org/abs/1810.04805).

Shape letters: B texts, T tokens of the longest text, N tokens of all, E width of the embedding tables (H but in
ELECTRA, which projects), H hidden, A heads, D = H / A, I intermediate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from ..families.config import EncoderConfig
from .packing import Packing, Padded, Single

__all__ = ["NativeEncoder"]

_Layout = Single | Packing | Padded
#: By name; a layer's without its number in front.
_Weights = Mapping[str, tf.Tensor | tf.Variable | np.ndarray]

#: XLA compiles anew for each shape: texts are padded to a multiple of so many tokens, batches to a power of two.
_XLA_TOKENS = 32

#: The epsilon of the operation that TensorFlow's remapper puts in place of a normalisation on a CPU, whatever epsilon
#: the graph says (from 2.15 to 2.20 at least). So the graph says this one too, and what it normalises is multiplied to
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
    """BERT over padded token ids, whose padding is left out of the work.

    Args:
        config: shape of the encoder; its ``activation`` must be set.
        weights: by canonical name, see :mod:`rawbert.exporter.families.config`.
        pair: whether it will be given token types.
        precision: dtype of the matrix products and of their weights, one of :data:`..config.PRECISIONS`. Whatever adds
            up many values (normalisation, softmax, the sums that residual connections make) stays in float32.
        xla: have XLA compile it (``jit_compile=True``), padding included, for each shape that comes.
    """

    def __init__(
        self,
        config: EncoderConfig,
        weights: Mapping[str, np.ndarray],
        pair: bool = False,
        precision: str = "float32",
        xla: bool = False,
    ) -> None:
        super().__init__(name="encoder")
        assert config.activation is not None
        self._config = config
        self._activation = activation(config.activation)
        self._dtype = tf.as_dtype(precision)
        self._compiled = tf.function(self._encode, jit_compile=True, autograph=False) if xla else None

        def weight(name: str, value: np.ndarray | None = None) -> tf.Variable | np.ndarray:
            value = np.asarray(weights[name] if value is None else value, np.float32)
            dtype = self._dtype if name.endswith(("/kernel", "/bias")) else tf.float32
            if value.ndim == 1:  # small: a constant, which costs no reading; normalisation is fused only with such
                return value.astype(dtype.as_numpy_dtype)
            return tf.Variable(tf.cast(value, dtype), trainable=False, name=name)

        def joined(prefix: str, leaf: str) -> np.ndarray:
            # One product in place of three: query, key and value side by side, [H, 3H]. Attention scores are
            # divided by sqrt(D): the weights of the query are, once and for all.
            query, key, value = (weights[f"{prefix}/{part}/{leaf}"] for part in ("query", "key", "value"))
            scale = math.sqrt(config.hidden_size // config.num_heads)
            return np.concatenate([query / np.float32(scale), key, value], axis=-1)

        names = [
            "embeddings/word",
            "embeddings/position",
            "embeddings/layer_norm/gamma",
            "embeddings/layer_norm/beta",
        ]
        if config.projects:
            names += ["embeddings/project/kernel", "embeddings/project/bias"]
        for index in range(config.num_layers):
            names += [
                f"layer_{index}/{part}/{leaf}"
                for part, leaves in (
                    ("attention/output", ("kernel", "bias")),
                    ("attention/layer_norm", ("gamma", "beta")),
                    ("intermediate", ("kernel", "bias")),
                    ("output", ("kernel", "bias")),
                    ("output/layer_norm", ("gamma", "beta")),
                )
                for leaf in leaves
            ]
        if config.has_pooler:
            names += ["pooler/kernel", "pooler/bias"]
        self._weights = {name: weight(name) for name in names}
        # A single text has segment 0 throughout, so the other rows of the type table are never read.
        if config.type_vocab_size and pair:
            self._weights["embeddings/type"] = weight("embeddings/type")
        elif config.type_vocab_size:
            self._weights["embeddings/type_0"] = weight("embeddings/type_0", weights["embeddings/type"][0])
        for index in range(config.num_layers):
            for leaf in ("kernel", "bias"):
                name = f"layer_{index}/attention/qkv/{leaf}"
                self._weights[name] = weight(name, joined(f"layer_{index}/attention", leaf))

    def __call__(
        self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Encode.

        Args:
            ids: int32 ``[B, T]``; T is at most the number of positions.
            mask: int32 ``[B, T]``, 1 at real tokens.
            types: int32 ``[B, T]``, of an encoder of pairs; 0 if left out.

        Returns:
            ``sequence_output`` float32 ``[B, T, H]`` (padding holds whatever came out), and ``pooled_output``
            float32 ``[B, H]``, ``None`` where the checkpoint has no pooler.
        """
        if types is None and "embeddings/type" in self._weights:
            types = tf.zeros_like(ids)
        sequence = self._by_xla(ids, mask, types) if self._compiled else self._by_length(ids, mask, types)
        if not self._config.has_pooler:
            return sequence, None
        pooled = self._dense(sequence[:, 0], self._weights, "pooler")
        return sequence, tf.math.tanh(tf.cast(pooled, tf.float32))

    def _by_length(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor | None) -> tf.Tensor:
        """``[B, T]`` -> ``[B, T, H]``, without padding in the work."""
        with tf.device("/CPU:0"):  # where the mask comes from, and where tf.cond asks
            single = tf.logical_and(tf.shape(mask)[0] == 1, tf.reduce_all(mask == 1))
        return tf.cond(
            single,
            lambda: self._encode(ids, mask, types, Single),
            lambda: self._encode(ids, mask, types, Packing),
        )

    def _by_xla(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor | None) -> tf.Tensor:
        """``[B, T]`` -> ``[B, T, H]``, in one of a few shapes."""
        assert self._compiled is not None
        with tf.device("/CPU:0"):
            batch, tokens = tf.unstack(tf.shape(ids))
            powers = tf.bitwise.left_shift(1, tf.range(31))
            texts = powers[tf.reduce_sum(tf.cast(powers < batch, tf.int32))]  # the least that is not below the batch
            length = tf.minimum(-(-tokens // _XLA_TOKENS) * _XLA_TOKENS, self._config.max_positions)
            more = [[0, texts - batch], [0, length - tokens]]
            ids, mask = tf.pad(ids, more), tf.pad(mask, more)
            types = None if types is None else tf.pad(types, more)
        return self._compiled(ids, mask, types, Padded)[:batch, :tokens]

    def _encode(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor | None, layout: type[_Layout]) -> tf.Tensor:
        """``[B, T]`` -> ``[B, T, H]``; padding holds whatever came out."""
        # Where the mask comes from: on a GPU each shape and slice would wait for a copy. XLA compiles for one device.
        with tf.device(None if layout is Padded else "/CPU:0"):
            packing = layout(mask, self._config.num_heads)
        x = self._embed(packing.pack(ids), packing.columns, None if types is None else packing.pack(types))  # [N, E]
        return packing.unpack(self._layers(x, packing))

    def _embed(self, ids: tf.Tensor, positions: tf.Tensor, types: tf.Tensor | None) -> tf.Tensor:
        """The sum of the embeddings, before normalisation: ``[N]`` -> ``[N, E]``."""
        w = self._weights
        x = tf.gather(w["embeddings/word"], ids) + tf.gather(w["embeddings/position"], positions)
        if types is not None and "embeddings/type" in w:
            x += tf.gather(w["embeddings/type"], types)
        elif "embeddings/type_0" in w:
            x += w["embeddings/type_0"]
        return x

    def _layers(self, x: tf.Tensor, packing: _Layout) -> tf.Tensor:
        """Embeddings ``[N, E]`` -> ``[N, H]``."""
        x = self._layer_norm(x, self._weights, "embeddings", packing.many)  # [N, E]
        if self._config.projects:
            x = tf.cast(self._dense(x, self._weights, "embeddings/project"), tf.float32)  # [N, H]

        def layer(x: tf.Tensor, weights: _Weights) -> tf.Tensor:
            return self._layer(x, weights, packing)

        # In saved_model.pb a layer stands once; TensorFlow puts it in place of each call before it optimizes the graph.
        once = tf.function(layer, autograph=False)
        for index in range(self._config.num_layers):
            prefix = f"layer_{index}/"
            weights = {
                name.removeprefix(prefix): weight for name, weight in self._weights.items() if name.startswith(prefix)
            }
            x = once(x, weights)
        return x

    def _layer(self, x: tf.Tensor, weights: _Weights, packing: _Layout) -> tf.Tensor:
        """``[N, H]`` -> ``[N, H]``."""
        qkv = self._dense(x, weights, "attention/qkv")  # [N, 3H]
        attended = self._dense(self._attend(qkv, packing), weights, "attention/output")
        x = self._layer_norm(x + tf.cast(attended, tf.float32), weights, "attention", packing.many)
        inner = self._activation(self._dense(x, weights, "intermediate"))  # [N, I]
        inner = self._dense(inner, weights, "output")
        return self._layer_norm(x + tf.cast(inner, tf.float32), weights, "output", packing.many)

    def _attend(self, qkv: tf.Tensor, packing: _Layout) -> tf.Tensor:
        """Multi-head self-attention of every text: ``[N, 3H]`` -> ``[N, H]``, before the output projection."""
        heads, hidden = self._config.num_heads, self._config.hidden_size
        rows = tf.reshape(qkv, [-1, hidden // heads])  # [N * 3 * A, D]
        contexts = []
        for parts, bias in packing.split(rows):
            query, key, value = tf.unstack(parts)  # each [g, A, t, D]
            scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)  # [g, A, t, t]
            if bias is not None:
                scores += bias
            contexts.append(tf.matmul(tf.cast(tf.nn.softmax(scores), self._dtype), value))  # [g, A, t, D]
        return tf.reshape(packing.join(contexts), [-1, hidden])

    def _dense(self, x: tf.Tensor, weights: _Weights, name: str) -> tf.Tensor:
        """``[N, in]`` -> ``[N, out]``, in the encoder's precision."""
        x = tf.cast(x, self._dtype)
        return tf.nn.bias_add(tf.matmul(x, weights[f"{name}/kernel"]), weights[f"{name}/bias"])

    def _layer_norm(self, x: tf.Tensor, weights: _Weights, name: str, many: bool) -> tf.Tensor:
        """Normalise the last axis; population variance, epsilon inside the root, as BERT does.

        ``many``: write it as TensorFlow fuses it on a CPU. The fused operation goes over ``x`` once instead of seven
        times, and costs more than that to begin with, which a single text does not bring in again.
        """
        gamma, beta = (weights[f"{name}/layer_norm/{leaf}"] for leaf in ("gamma", "beta"))
        if many:
            x *= math.sqrt(_FUSED_EPSILON / self._config.layer_norm_eps)
            mean = tf.reduce_mean(x, axis=1, keepdims=True)
            variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axis=1, keepdims=True)
            scale = tf.math.rsqrt(variance + _FUSED_EPSILON) * gamma
            return x * scale + (beta - mean * scale)
        mean = tf.reduce_mean(x, axis=1, keepdims=True)
        centred = x - mean
        variance = tf.reduce_mean(tf.square(centred), axis=1, keepdims=True)
        return centred * (tf.math.rsqrt(variance + self._config.layer_norm_eps) * gamma) + beta
