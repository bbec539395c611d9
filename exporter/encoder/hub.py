"""Any Hub text encoder as a black box: called as it is, its weights and functions saved unchanged."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

__all__ = ["HubEncoder"]


class HubEncoder(tf.Module):
    """The Hub layer over padded token ids.

    Args:
        layer: the ``hub.KerasLayer`` of the encoder.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(name="encoder")
        # The restored object carries the weights and is saved. The Keras layer around it only knows how to
        # call it; tracked, it would put Keras's own bookkeeping into the SavedModel.
        self.encoder = layer.resolved_object
        self._call = layer.call

    def __call__(self, ids: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Encode.

        Args:
            ids: int32 ``[batch, tokens]``.
            mask: int32 ``[batch, tokens]``, 1 at real tokens.

        Returns:
            ``sequence_output`` float32 ``[batch, tokens, hidden]`` (padding holds whatever came out) and
            ``pooled_output`` float32 ``[batch, hidden]``.
        """
        outputs = self._call({"input_word_ids": ids, "input_mask": mask, "input_type_ids": tf.zeros_like(ids)})
        return tf.cast(outputs["sequence_output"], tf.float32), tf.cast(outputs["pooled_output"], tf.float32)
