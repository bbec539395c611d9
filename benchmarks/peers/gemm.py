"""The limit: only the matrix products of the model's dense layers, for the same number of tokens.

Products of ``[N, k]`` with the constant ``[k, m]`` of every layer (see :attr:`..flops.Shape.dense`), one after the
other; N is the call's number of real tokens. TensorFlow runs them through oneDNN, which lays out the weights for the
processor once. No graph with these layers can be faster in TensorFlow; attention, normalisation, activation,
tokenization and pooling are not included. For a few tokens other libraries have faster products, so that the share of
the limit is not meaningful there.
"""

from __future__ import annotations

import numpy as np

from ..flops import MINILM, Shape
from .base import Contestant, Setup, tokenizer

__all__ = ["Peer"]

#: Maximum rows of a product; more tokens are processed in parts.
_ROWS = 8192


class Peer(Contestant):
    """See :class:`.base.Contestant`; the embeddings are zeros."""

    def __init__(self, setup: Setup, shape: Shape = MINILM) -> None:
        super().__init__(setup)
        self._shape = shape

    def load(self) -> None:
        """Build the graph."""
        import tensorflow as tf
        from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

        self._tokenizer = tokenizer(self._setup)
        random = np.random.default_rng(0)
        dtype = tf.as_dtype(self._setup.precision)
        graph = tf.Graph()
        with graph.as_default():
            rows = tf.compat.v1.placeholder(tf.int32, [])
            inputs = {
                # Cast from float32, because not every device has random bfloat16 numbers. A slice of rows is no copy.
                width: tf.compat.v1.Variable(tf.cast(tf.random.normal([_ROWS, width]), dtype), trainable=False)
                for width in {k for k, _ in self._shape.dense}
            }
            sliced = {width: tf.identity(variable)[:rows] for width, variable in inputs.items()}
            last: list[tf.Operation] = []
            for _ in range(self._shape.layers):
                for k, m in self._shape.dense:
                    weights = tf.constant(random.standard_normal((k, m), np.float32), dtype)
                    with tf.control_dependencies(last):
                        last = [tf.matmul(sliced[k], weights).op]
            config = config_pb2.ConfigProto(
                intra_op_parallelism_threads=self._setup.threads, inter_op_parallelism_threads=1
            )
            # The optimizer would remove products without a reader.
            config.graph_options.rewrite_options.dependency_optimization = rewriter_config_pb2.RewriterConfig.OFF
            session = tf.compat.v1.Session(config=config)
            session.run(tf.compat.v1.global_variables_initializer())
        options = config_pb2.CallableOptions(feed=[rows.name], target=[last[0].name])
        self._run = session._make_callable_from_options(options)

    def embed(self, texts: list[str]) -> np.ndarray:
        """Compute the products for these texts' tokens."""
        self.multiply(self.tokens(texts))
        return np.zeros([len(texts), self._shape.hidden], np.float32)

    def tokens(self, texts: list[str]) -> int:
        """Total number of tokens of the texts."""
        ids = self._tokenizer(texts, truncation=True, max_length=self._setup.max_tokens)["input_ids"]
        return sum(map(len, ids))

    def multiply(self, tokens: int) -> None:
        """Compute the products for this number of tokens."""
        for first in range(0, tokens, _ROWS):
            self._run(np.int32(min(_ROWS, tokens - first)))
