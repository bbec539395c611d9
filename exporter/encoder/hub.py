"""Any Hub text encoder as a black box: called as it is, its weights and functions saved unchanged."""

from __future__ import annotations

import tensorflow as tf

from ..sources.hub import TextLayer

__all__ = ["HubEncoder"]


class HubEncoder(tf.Module):
    """The Hub layer over padded token ids.

    Args:
        layer: the encoder, see :class:`..sources.hub.TextLayer`.
    """

    def __init__(self, layer: TextLayer) -> None:
        super().__init__(name="encoder")
        # The restored object carries the weights and is saved. What is around it only knows how to call it.
        self.encoder = layer.resolved_object
        self._layer = layer

    def __call__(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Encode.

        Args:
            ids: int32 ``[batch, tokens]``.
            mask: int32 ``[batch, tokens]``, 1 at real tokens.
            types: int32 ``[batch, tokens]``, 1 in the second text of a pair; 0 if left out.

        Returns:
            ``sequence_output`` float32 ``[batch, tokens, hidden]`` (padding holds whatever came out) and
            ``pooled_output`` float32 ``[batch, hidden]``.
        """
        sequence, pooled = self._layer(ids, mask, types)
        return tf.cast(sequence, tf.float32), tf.cast(pooled, tf.float32)
