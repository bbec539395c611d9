"""The signatures of an exported model as TensorFlow functions, with names, dtypes and order of the contract.

Each signature of :mod:`rawbert.serving.contract` is answered by a head (:mod:`.heads`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from ...serving.contract import DEFAULT_SIGNATURE, default_of, input_names, signature
from ..tokenizers.templates import Encoding
from ..tokenizers.tokenizer import Tokenizer
from .heads.plain import Head


class ServingModule(tf.Module):
    """Tokenizer, encoder and heads, with the exported functions of a SavedModel.

    Args:
        tokenizer: strings to token ids.
        encoder: token ids, mask and, for pairs, token types to sequence and pooled output, see :mod:`.encoder`.
        heads: heads by name of their signature.
        pair: whether signatures take two texts.
    """

    def __init__(self, tokenizer: Tokenizer, encoder: Any, heads: Mapping[str, Head], pair: bool = False) -> None:
        super().__init__(name="rawbert")
        self.tokenizer, self.encoder, self.heads = tokenizer, encoder, dict(heads)
        self._pair = pair
        self.vocab_file: tf.saved_model.Asset | None = None

    def functions(self, names: Sequence[str]) -> dict[str, Any]:
        """Concrete functions by signature name, the default included."""
        text = [tf.TensorSpec([None], tf.string, name=name) for name in input_names(self._pair)]
        table = tf.TensorSpec([None, None], tf.int32)
        # Functions that several signatures call: traced once, and only once in the file.
        tokens = tf.function(self._tokens, input_signature=text)
        encoder = tf.function(self._encode, input_signature=[table] * (1 + len(text)))

        def encoded(tokens: Encoding) -> tuple[tf.Tensor, tf.Tensor | None]:
            types = () if tokens.input_type_ids is None else (tokens.input_type_ids,)
            return encoder(tokens.input_word_ids, tokens.input_mask, *types)

        def function(name: str) -> Any:
            declared = signature(name)
            outputs = [output.name for output in declared.outputs_for(self._pair)]

            def call(*texts: tf.Tensor) -> dict[str, tf.Tensor]:
                # Identity, because a signature's outputs must be its own tensors.
                values = self.heads[name](tokens(*texts), encoded)
                return {output: tf.identity(value) for output, value in zip(outputs, values, strict=True)}

            call.__name__ = name  # gives the function in the file its name
            return tf.function(call).get_concrete_function(*text)

        functions = {name: function(name) for name in names}
        return {DEFAULT_SIGNATURE: functions[default_of(names)], **functions}

    def _tokens(self, *texts: tf.Tensor) -> Encoding:
        # Strings are always on the CPU. Without this, TensorFlow would place every op between string ops that has a GPU
        # kernel on the GPU, which needs dozens of copies in both directions.
        with tf.device("/CPU:0"):
            return self.tokenizer(*texts)

    def _encode(self, *inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        return self.encoder(*inputs)
