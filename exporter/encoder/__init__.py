"""Encoders: token ids in, ``sequence_output`` and ``pooled_output`` out.

Every encoder is a ``tf.Module`` with one method::

    __call__(ids, mask) -> sequence_output float32 [batch, tokens, hidden],
                           pooled_output   float32 [batch, hidden] or None
"""
