"""transformers' BertTokenizer in Python, padded to the longest text of the call, and hub.KerasLayer."""

from __future__ import annotations

import numpy as np

from . import hub
from .base import Contestant, in_sorted_batches, mean_pooled, tokenizer

__all__ = ["Peer"]


class Peer(Contestant):
    """See :class:`.base.Contestant`."""

    def prepare(self) -> None:
        """Build the Hub encoder."""
        hub.folder(self._setup)

    def load(self) -> None:
        """Load tokenizer and layer."""
        import tensorflow as tf
        import tensorflow_hub

        tf.config.threading.set_intra_op_parallelism_threads(self._setup.threads)
        tf.config.threading.set_inter_op_parallelism_threads(self._setup.threads)
        self._tokenizer = tokenizer(self._setup)
        self._layer = tensorflow_hub.KerasLayer(str(hub.folder(self._setup)))

    def embed(self, texts: list[str]) -> np.ndarray:
        """Float32 ``[B, H]``."""
        return in_sorted_batches(self._run, texts, self._setup.batch)

    def _run(self, texts: list[str]) -> np.ndarray:
        import tensorflow as tf

        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._setup.max_tokens, return_tensors="np"
        )
        inputs = {
            "input_word_ids": tf.constant(tokens["input_ids"], tf.int32),
            "input_mask": tf.constant(tokens["attention_mask"], tf.int32),
            "input_type_ids": tf.constant(tokens["token_type_ids"], tf.int32),
        }
        return mean_pooled(self._layer(inputs)["sequence_output"], inputs["input_mask"]).numpy()
