"""Hub-format folders of encoders other than BERT."""

from __future__ import annotations

from pathlib import Path


def write_encoder(folder: Path, call=None, vocab: Path | None = None, **variables) -> Path:
    """A SavedModel with the given call; with ``table`` it looks up token vectors, unlike BERT."""
    import tensorflow as tf

    module = tf.train.Checkpoint()  # which, unlike a tf.Module, keeps lists of its variables for hub.KerasLayer
    for name, value in variables.items():
        setattr(module, name, tf.Variable(value, name=name))
    module.variables = module.trainable_variables = [getattr(module, name) for name in variables]
    if vocab is not None:
        module.vocab_file = tf.saved_model.Asset(str(vocab))
        module.do_lower_case = tf.Variable(True, trainable=False, name="do_lower_case")
    if call is not None:
        spec = tf.TensorSpec([None, None], tf.int32)
        names = ("input_word_ids", "input_mask", "input_type_ids")
        module.__call__ = tf.function(call(module), input_signature=[dict.fromkeys(names, spec)])
    tf.saved_model.save(module, str(folder))
    return folder


def averaging(module):
    """A text encoder with the Hub's common API that is not a BERT."""
    import tensorflow as tf

    def call(inputs):
        sequence = tf.gather(module.table, inputs["input_word_ids"])
        return {"sequence_output": sequence, "pooled_output": tf.reduce_mean(sequence, 1), "default": sequence[:, 0]}

    return call


def masked(module):
    """Like :func:`averaging`, but only over real tokens."""
    import tensorflow as tf

    def call(inputs):
        sequence = tf.gather(module.table, inputs["input_word_ids"])
        real = tf.cast(inputs["input_mask"], tf.float32)[..., tf.newaxis]
        pooled = tf.reduce_sum(sequence * real, 1) / tf.reduce_sum(real, 1)
        return {"sequence_output": sequence, "pooled_output": pooled, "default": pooled}

    return call
