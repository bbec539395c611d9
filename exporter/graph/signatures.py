"""The signatures of an exported model: the one place on this side that names inputs and outputs.

Every signature takes ``text``, string ``[batch]`` (UTF-8), and every output has the batch as dimension 0. An export
for pairs takes ``text_pair``, string ``[batch]``, too.

============  =========================================================================================
signature     outputs
============  =========================================================================================
``embed``     ``embedding`` float32 ``[batch, dim]``
``pooled``    ``pooled_output`` float32 ``[batch, hidden]``
``sequence``  ``sequence_output`` float32 ``[batch, tokens, hidden]``, zero beyond ``input_mask``, and the
              outputs of ``tokenize``
``tokenize``  ``input_word_ids``, ``input_mask``, ``start_offsets``, ``limit_offsets`` int32
              ``[batch, tokens]``; ``token_count`` int32 ``[batch]``; for pairs ``input_type_ids`` int32
              ``[batch, tokens]``, and offsets are into the text that it names
============  =========================================================================================

``serving_default`` is an alias: ``embed`` where the checkpoint has a pooling recipe, else ``pooled``, else the
first of what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ..errors import ConfigError
from ..recipe import DEFAULT, SIGNATURES
from ..sources.checkpoint import Checkpoint, PoolingRecipe
from ..tokenizers.tokenizer import Encoding, Tokenizer
from .heads.embedding import EmbeddingHead

__all__ = ["TEXT", "TEXT_PAIR", "ServingModule", "available", "choose", "default_of"]

TEXT = "text"
TEXT_PAIR = "text_pair"

#: An encoder: token ids, mask and, for pairs, token types to sequence and pooled output.
Encoder = Callable[..., tuple[tf.Tensor, tf.Tensor | None]]


def available(checkpoint: Checkpoint, pooling: PoolingRecipe | None) -> tuple[str, ...]:
    """Signatures that a checkpoint can answer."""
    absent = set()
    if pooling is None:
        absent.add("embed")
    if not checkpoint.has_pooler:
        absent.add("pooled")
    return tuple(name for name in SIGNATURES if name not in absent)


def choose(checkpoint: Checkpoint, pooling: PoolingRecipe | None, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Signatures to export, in the order of :data:`.config.SIGNATURES`.

    Raises:
        ConfigError: one is wanted that the checkpoint cannot answer.
    """
    offered = available(checkpoint, pooling)
    reasons = {
        "embed": "it has no pooling recipe; choose one with --pooling",
        "pooled": "it has no pooler weights",
    }
    for name in wanted or ():
        if name not in offered:
            raise ConfigError(f"the signature {name} cannot be exported from {checkpoint.location}: {reasons[name]}")
    return tuple(name for name in offered if wanted is None or name in wanted)


def default_of(names: Sequence[str]) -> str:
    """The signature that ``serving_default`` stands for."""
    return next(name for name in SIGNATURES if name in names)


class ServingModule(tf.Module):
    """Tokenizer, encoder and head with the functions that a SavedModel exports.

    Args:
        tokenizer: strings to token ids.
        encoder: see :mod:`.encoder`.
        pooling: the recipe behind ``embed``, if it is to be answered.
        pair: whether signatures take two texts.
    """

    def __init__(
        self, tokenizer: Tokenizer, encoder: Encoder, pooling: PoolingRecipe | None, pair: bool = False
    ) -> None:
        super().__init__(name="rawbert")
        self.tokenizer = tokenizer
        self.encoder = encoder
        self._inputs = (TEXT, TEXT_PAIR) if pair else (TEXT,)
        self.head = EmbeddingHead(pooling) if pooling is not None else None
        self.vocab_file: tf.saved_model.Asset | None = None

    def functions(self, names: Sequence[str]) -> dict[str, Any]:
        """Concrete functions by signature name, ``serving_default`` included."""
        text = [tf.TensorSpec([None], tf.string, name=name) for name in self._inputs]
        table = tf.TensorSpec([None, None], tf.int32)
        # Functions that the signatures call: traced once, and once in the file.
        tokens = tf.function(self._tokens, input_signature=text)
        encoder = tf.function(self._encode, input_signature=[table] * (1 + len(self._inputs)))
        bodies = {
            "embed": self._embed,
            "pooled": self._pooled,
            "sequence": self._sequence,
            "tokenize": self._tokenize,
        }

        def signature(name: str) -> Any:
            def call(*texts: tf.Tensor) -> dict[str, tf.Tensor]:
                return bodies[name](tokens(*texts), encoder)

            call.__name__ = name  # which the function in the file is named after
            return tf.function(call).get_concrete_function(*text)

        functions = {name: signature(name) for name in names}
        return {DEFAULT: functions[default_of(names)], **functions}

    def _tokens(self, *texts: tf.Tensor) -> Encoding:
        # Strings live on the CPU. Left to itself, TensorFlow would put each op between them that has a GPU kernel on
        # the GPU: dozens of copies to and fro.
        with tf.device("/CPU:0"):
            return self.tokenizer(*texts)

    def _encode(
        self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        return self.encoder(ids, mask, types)

    def _embed(self, tokens: Encoding, encoder: Encoder) -> dict[str, tf.Tensor]:
        assert self.head is not None
        sequence, _ = _encoded(tokens, encoder)
        return {"embedding": self.head(sequence, tokens.input_mask)}

    def _pooled(self, tokens: Encoding, encoder: Encoder) -> dict[str, tf.Tensor]:
        _, pooled = _encoded(tokens, encoder)
        return {"pooled_output": pooled}

    def _sequence(self, tokens: Encoding, encoder: Encoder) -> dict[str, tf.Tensor]:
        sequence, _ = _encoded(tokens, encoder)
        # Not a product: what stands in padding may be anything, and 0 * inf is not 0.
        sequence = tf.where(tokens.input_mask[:, :, tf.newaxis] == 1, sequence, 0.0)
        return {"sequence_output": sequence, **_named(tokens)}

    def _tokenize(self, tokens: Encoding, encoder: Encoder) -> dict[str, tf.Tensor]:
        return _named(tokens)


def _encoded(tokens: Encoding, encoder: Encoder) -> tuple[tf.Tensor, tf.Tensor | None]:
    types = () if tokens.input_type_ids is None else (tokens.input_type_ids,)
    return encoder(tokens.input_word_ids, tokens.input_mask, *types)


def _named(tokens: Encoding) -> dict[str, tf.Tensor]:
    # Identity: a signature's outputs must be tensors of its own.
    return {name: tf.identity(value) for name, value in tokens._asdict().items() if value is not None}
