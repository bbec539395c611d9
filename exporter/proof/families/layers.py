"""The building blocks of transformers in numpy float64, over a checkpoint's tensors by the names in PyTorch's form."""

import math
from collections.abc import Mapping, Sequence

import numpy as np


class Layers:
    """Computes with the tensors of one checkpoint.

    Args:
        tensors: by name without a prefix; dense weights are ``[out, in]``.
        epsilon: of normalisation.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], epsilon: float) -> None:
        self._tensors, self._epsilon = tensors, epsilon

    def __contains__(self, name: str) -> bool:
        return f"{name}.weight" in self._tensors

    def rows(self, name: str, at: np.ndarray | slice) -> np.ndarray:
        """Rows of an embedding table: ``[tokens]`` -> ``[tokens, width]``."""
        return self._tensors[f"{name}.weight"][at].astype(np.float64)

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        """A dense layer: ``[..., in]`` -> ``[..., out]``."""
        return x @ self._float64(f"{name}.weight").T + self._float64(f"{name}.bias")

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        """Layer normalisation of the last axis (Ba et al., 2016, https://arxiv.org/abs/1607.06450).

        Checkpoints that were converted from TensorFlow call its weights gamma and beta.
        """
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + self._epsilon)
        old = f"{name}.gamma" in self._tensors
        gamma, beta = (self._float64(f"{name}.{leaf}") for leaf in (("gamma", "beta") if old else ("weight", "bias")))
        return x * gamma + beta

    def attention(
        self, x: np.ndarray, query_key_value: Sequence[str], heads: int, bias: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Multi-head self-attention before its output layer (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762).

        Args:
            x: ``[tokens, hidden]``.
            query_key_value: names of the dense layers that make them.
            heads: their number.
            bias: ``[heads, query, key]``, added to the scores.

        Returns:
            ``[tokens, hidden]``.
        """
        q, k, v = (np.stack(np.split(self.linear(x, name), heads, axis=-1)) for name in query_key_value)
        scores = np.einsum("hqd,hkd->hqk", q, k) / math.sqrt(q.shape[-1]) + bias
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        return np.concatenate(list(scores / scores.sum(-1, keepdims=True) @ v), axis=-1)

    def outputs(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What an encoder answers by its last layer's ``[tokens, hidden]``: see :class:`.Twin`."""
        if "pooler.dense" not in self:
            return {"sequence_output": x}
        return {"sequence_output": x, "pooled_output": np.tanh(self.linear(x[0], "pooler.dense"))}

    def _float64(self, name: str) -> np.ndarray:
        return self._tensors[name].astype(np.float64)
