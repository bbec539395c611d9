"""The building blocks of transformers in numpy float64, over a checkpoint's tensors by their PyTorch names."""

import math
from collections.abc import Mapping, Sequence

import numpy as np


class Layers:
    """Computes with the tensors of one checkpoint.

    Args:
        tensors: tensors by name without a prefix; dense weights are ``[out, in]``.
        epsilon: epsilon of normalisation.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], epsilon: float) -> None:
        self._tensors, self._epsilon = tensors, epsilon

    def __contains__(self, name: str) -> bool:
        return f"{name}.weight" in self._tensors

    def rows(self, name: str, at: np.ndarray | slice) -> np.ndarray:
        """Rows of an embedding table: ``[tokens]`` -> ``[tokens, width]``."""
        return self._tensors[f"{name}.weight"][at].astype(np.float64)

    def linear(self, x: np.ndarray, name: str, bias: bool = True) -> np.ndarray:
        """A dense layer, with or without a bias: ``[..., in]`` -> ``[..., out]``."""
        x = x @ self._float64(f"{name}.weight").T
        return x + self._float64(f"{name}.bias") if bias else x

    def norm(self, x: np.ndarray, name: str, bias: bool = True) -> np.ndarray:
        """Layer normalisation of the last axis (Ba et al., 2016, https://arxiv.org/abs/1607.06450).

        In checkpoints converted from TensorFlow its weights are called gamma and beta.
        """
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + self._epsilon)
        old = f"{name}.gamma" in self._tensors
        gamma, beta = ("gamma", "beta") if old else ("weight", "bias")
        x = x * self._float64(f"{name}.{gamma}")
        return x + self._float64(f"{name}.{beta}") if bias else x

    def attention(
        self, x: np.ndarray, query_key_value: Sequence[str], heads: int, bias: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Multi-head self-attention before its output layer (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762).

        Args:
            x: ``[tokens, hidden]``.
            query_key_value: names of their dense layers.
            heads: number of heads.
            bias: ``[heads, query, key]``, added to the scores.

        Returns:
            ``[tokens, hidden]``.
        """
        query, key, value = (self.linear(x, name) for name in query_key_value)
        return self.attend(query, key, value, heads, bias)

    @staticmethod
    def attend(
        query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int, bias: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """As :meth:`attention`, from query, key and value ``[tokens, hidden]``."""
        q, k, v = (np.stack(np.split(each, heads, axis=-1)) for each in (query, key, value))
        biases = np.broadcast_to(bias, (heads, len(query), len(key)))
        contexts = []
        for head in range(heads):  # one by one, because all heads of a long text take gigabytes
            scores = q[head] @ k[head].T / math.sqrt(q.shape[-1]) + biases[head]
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            contexts.append(scores / scores.sum(-1, keepdims=True) @ v[head])
        return np.concatenate(contexts, axis=-1)

    @staticmethod
    def turned(x: np.ndarray, heads: int, theta: float) -> np.ndarray:
        """Rotary positions (Su et al., 2021, https://arxiv.org/abs/2104.09864) of queries or keys ``[tokens, hidden]``.

        As complex numbers: the first half of a head's D numbers are real parts, the second half imaginary parts, and
        number i at position p is multiplied by ``exp(1j * p * theta ** (-2 * i / D))``. Powers, their inverses and the
        angles are float32, as in the training code of such models.
        """
        size = x.shape[-1] // heads
        powers = [np.float32(theta ** float(np.float32(2 * i) / np.float32(size))) for i in range(size // 2)]
        angles = np.outer(np.arange(len(x), dtype=np.float32), [np.float32(1) / power for power in powers])
        real, imaginary = np.split(x.reshape(len(x), heads, size), 2, axis=-1)
        z = (real + 1j * imaginary) * np.exp(1j * angles.astype(np.float64))[:, None, :]
        return np.concatenate([z.real, z.imag], axis=-1).reshape(x.shape)

    def outputs(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of an encoder from its last layer's ``[tokens, hidden]``: see :class:`.Twin`."""
        if "pooler.dense" not in self:
            return {"sequence_output": x}
        return {"sequence_output": x, "pooled_output": np.tanh(self.linear(x[0], "pooler.dense"))}

    def _float64(self, name: str) -> np.ndarray:
        return self._tensors[name].astype(np.float64)
