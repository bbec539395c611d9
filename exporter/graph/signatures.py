"""The signatures of an exported model as TensorFlow functions: names, dtypes and order are those of the contract.

Here each signature of :mod:`rawbert.serving.contract` has a body, which gives its tensors in the order in which the
contract lists the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ...serving.contract import (
    DEFAULT_SIGNATURE,
    EMBED,
    POOLED,
    SEQUENCE,
    TOKENIZE,
    default_of,
    input_names,
    signature,
)
from ..sources.checkpoint import PoolingRecipe
from ..tokenizers.tokenizer import Encoding, Tokenizer
from .heads.embedding import EmbeddingHead

__all__ = ["ServingModule"]

#: An encoder: token ids, mask and, for pairs, token types to sequence and pooled output.
Encoder = Callable[..., tuple[tf.Tensor, tf.Tensor | None]]


class ServingModule(tf.Module):
    """Tokenizer, encoder and head with the functions that a SavedModel exports.

    Args:
        tokenizer: strings to token ids.
        encoder: see :mod:`.encoder`.
        pooling: the recipe of ``embed``, if it is to be answered.
        pair: whether signatures take two texts.
    """

    def __init__(
        self, tokenizer: Tokenizer, encoder: Encoder, pooling: PoolingRecipe | None, pair: bool = False
    ) -> None:
        super().__init__(name="rawbert")
        self.tokenizer = tokenizer
        self.encoder = encoder
        self._pair = pair
        self.head = EmbeddingHead(pooling) if pooling is not None else None
        self.vocab_file: tf.saved_model.Asset | None = None

    def functions(self, names: Sequence[str]) -> dict[str, Any]:
        """Concrete functions by signature name, the default included."""
        text = [tf.TensorSpec([None], tf.string, name=name) for name in input_names(self._pair)]
        table = tf.TensorSpec([None, None], tf.int32)
        # Functions that the signatures call: traced once, and once in the file.
        tokens = tf.function(self._tokens, input_signature=text)
        encoder = tf.function(self._encode, input_signature=[table] * (1 + len(text)))
        bodies = {EMBED: self._embed, POOLED: self._pooled, SEQUENCE: self._sequence, TOKENIZE: self._tokenize}

        def function(name: str) -> Any:
            declared = signature(name)
            outputs = [output.name for output in declared.outputs_for(self._pair)]

            def call(*texts: tf.Tensor) -> dict[str, tf.Tensor]:
                # Identity: a signature's outputs must be tensors of its own.
                values = bodies[declared](tokens(*texts), encoder)
                return {output: tf.identity(value) for output, value in zip(outputs, values, strict=True)}

            call.__name__ = name  # which the function in the file is named after
            return tf.function(call).get_concrete_function(*text)

        functions = {name: function(name) for name in names}
        return {DEFAULT_SIGNATURE: functions[default_of(names)], **functions}

    def _tokens(self, *texts: tf.Tensor) -> Encoding:
        # Strings live on the CPU. Left to itself, TensorFlow would put each op between them that has a GPU kernel on
        # the GPU: dozens of copies to and fro.
        with tf.device("/CPU:0"):
            return self.tokenizer(*texts)

    def _encode(
        self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        return self.encoder(ids, mask, types)

    def _embed(self, tokens: Encoding, encoder: Encoder) -> Sequence[tf.Tensor]:
        assert self.head is not None
        sequence, _ = _encoded(tokens, encoder)
        return [self.head(sequence, tokens.input_mask)]

    def _pooled(self, tokens: Encoding, encoder: Encoder) -> Sequence[tf.Tensor]:
        _, pooled = _encoded(tokens, encoder)
        return [pooled]

    def _sequence(self, tokens: Encoding, encoder: Encoder) -> Sequence[tf.Tensor]:
        sequence, _ = _encoded(tokens, encoder)
        # Not a product: what is in padding may be anything, and 0 * inf is not 0.
        sequence = tf.where(tokens.input_mask[:, :, tf.newaxis] == 1, sequence, 0.0)
        return [sequence, *self._tokenize(tokens, encoder)]

    def _tokenize(self, tokens: Encoding, encoder: Encoder) -> Sequence[tf.Tensor]:
        # The fields are in the order of the contract.
        return [value for value in tokens if value is not None]


def _encoded(tokens: Encoding, encoder: Encoder) -> tuple[tf.Tensor, tf.Tensor | None]:
    types = () if tokens.input_type_ids is None else (tokens.input_type_ids,)
    return encoder(tokens.input_word_ids, tokens.input_mask, *types)
