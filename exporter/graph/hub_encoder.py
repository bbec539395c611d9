"""Any Hub text encoder as a black box: saved unchanged, and called on texts of similar length.

Texts cannot be packed inside a black box. But padding costs as much as text, so a batch is divided into length groups,
and the layer is called once for each group.

Shape letters: B texts, T tokens of the longest, H hidden. In a group: g texts, t tokens of the longest.
"""

import tensorflow as tf

from ..sources.hub import TextLayer
from .packing import divide

#: Maximum number of groups: each waits for the one before it, and small matrix products are inefficient.
_GROUPS = 8
#: Desired minimum number of tokens in a group, for the same reason.
_TOKENS = 128


class HubEncoder(tf.Module):
    """The Hub layer over padded token ids.

    Args:
        layer: the encoder, see :class:`..sources.hub.TextLayer`.
    """

    def __init__(self, layer: TextLayer) -> None:
        super().__init__(name="encoder")
        # Only the restored object has weights and is saved; the layer around it only calls it.
        self.encoder = layer.resolved_object
        self._layer = layer

    def __call__(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Encode.

        Args:
            ids: int32 ``[B, T]``.
            mask: int32 ``[B, T]``, 1 at real tokens, which come first; at least two in every text.
            types: int32 ``[B, T]``, 1 in the second text of a pair; 0 if left out.

        Returns:
            ``sequence_output`` float32 ``[B, T, H]`` (arbitrary values in padding) and ``pooled_output`` float32
            ``[B, H]``.
        """
        if types is None:
            types = tf.zeros_like(ids)
        with tf.device("/CPU:0"):  # the device of ids and mask
            lengths = tf.reduce_sum(mask, axis=1)  # [B]
            wanted = tf.clip_by_value(tf.reduce_sum(lengths) // _TOKENS, 1, _GROUPS)
            order, bounds = divide(lengths, wanted)
            bounds = tf.concat([tf.unique(bounds).y, bounds[-1:]], 0)  # no empty groups, except for an empty batch
            count = tf.maximum(tf.size(bounds) - 2, 1)
            sorted_lengths = tf.gather(lengths, order)

        def run(number: tf.Tensor, sequences: tf.TensorArray, pooleds: tf.TensorArray) -> tuple[object, ...]:
            with tf.device("/CPU:0"):
                texts = order[bounds[number] : bounds[number + 1]]
                longest = tf.reduce_max(tf.concat([tf.gather(lengths, texts), [2]], 0))
                inputs = [tf.gather(each, texts)[:, :longest] for each in (ids, mask, types)]  # each [g, t]
            sequence, pooled = self._layer(*inputs)
            sequence = tf.reshape(tf.cast(sequence, tf.float32), [-1, self._layer.hidden_size])  # [g * t, H]
            return number + 1, sequences.write(number, sequence), pooleds.write(number, tf.cast(pooled, tf.float32))

        shape = [None, self._layer.hidden_size]
        results = [tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=shape) for _ in range(2)]
        # One after the other, so that each group can use the whole machine.
        _, *results = tf.while_loop(
            lambda number, *_: number < count, run, [tf.constant(0), *results], parallel_iterations=1
        )
        sequences, pooleds = (each.concat() for each in results)  # [sum of g * t, H], [B, H]

        with tf.device("/CPU:0"):
            place = tf.math.invert_permutation(order)  # [B], index of each text in the sorted order
            group = tf.searchsorted(bounds[1:-1], tf.range(tf.size(order)), side="right")
            padded = tf.gather(tf.math.segment_max(sorted_lengths, group), group)  # [B], t of each text's group
            starts = tf.gather(tf.cumsum(padded, exclusive=True), place)[:, tf.newaxis]
            # Padding gets the vector of the text's last token.
            rows = starts + tf.minimum(tf.range(tf.shape(ids)[1]), lengths[:, tf.newaxis] - 1)  # [B, T]
        return tf.gather(sequences, rows), tf.gather(pooleds, place)
