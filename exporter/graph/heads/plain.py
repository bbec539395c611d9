"""Heads that return the outputs of encoder and tokenizer unchanged: ``pooled``, ``sequence`` and ``tokenize``."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from ...tokenizers.templates import Encoding

#: Tokens to ``sequence_output`` float32 ``[batch, tokens, hidden]`` (arbitrary values in padding) and
#: ``pooled_output`` float32 ``[batch, hidden]``, ``None`` without a pooler.
Encoder = Callable[[Encoding], tuple[tf.Tensor, tf.Tensor | None]]
#: The graph of a signature, a ``tf.Module`` if it has weights: its outputs in the order of the contract. It calls the
#: encoder only if needed.
Head = Callable[[Encoding, Encoder], Sequence[tf.Tensor]]


def pooled(tokens: Encoding, encoder: Encoder) -> Sequence[tf.Tensor]:
    """``pooled_output``."""
    _, vectors = encoder(tokens)
    assert vectors is not None
    return [vectors]


def sequence(tokens: Encoding, encoder: Encoder) -> Sequence[tf.Tensor]:
    """``sequence_output``, zero beyond the mask, and the tokens."""
    vectors, _ = encoder(tokens)
    # Not a product, because padding may contain inf, and 0 * inf is not 0.
    return [tf.where(tokens.input_mask[:, :, tf.newaxis] == 1, vectors, 0.0), *tokenize(tokens, encoder)]


def tokenize(tokens: Encoding, encoder: Encoder) -> Sequence[tf.Tensor]:
    """The tokens; fields are in the order of the contract."""
    return [value for value in tokens if value is not None]
