"""Graphs that some releases cannot run: ``python probes.py FOLDER`` writes SavedModels with this TensorFlow.

Each takes strings, and has an op or a dtype that only newer releases support. Graphs with ops of tensorflow-text have
names with ``text_`` at the beginning.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(folder: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf
    import tensorflow_text as text

    def lengths(x):
        return tf.strings.length(x)

    def counted(x):
        """Range in bfloat16, for which old releases have no kernel."""
        start, step = tf.constant(0, tf.bfloat16), tf.constant(1, tf.bfloat16)
        return tf.cast(tf.range(start, tf.cast(tf.size(x), tf.bfloat16), step), tf.float32)

    def mapped(x):
        """A list of tensors, whose ops have a new attribute."""
        return tf.map_fn(lambda length: length + 1, lengths(x))

    def trimmed(x):
        tokens = tf.strings.split(x)
        return text.RoundRobinTrimmer(4).trim([tokens, tokens])[0].to_tensor()

    def image(op):
        return lambda x: tf.cond(tf.size(x) < 0, lambda: tf.size(op(contents=x[0])), lambda: tf.size(x)) + lengths(x)

    graphs = {
        "lengths": lengths,
        "range_bfloat16": counted,
        "gather_int16": lambda x: tf.gather(lengths(x), tf.cast(tf.range(tf.size(x)), tf.int16)),
        "mapped": mapped,
        "webp": image(tf.raw_ops.DecodeWebP),
        "text_round_robin": trimmed,
    }
    if hasattr(tf.raw_ops, "DecodeJxl"):  # since 2.21
        graphs["jxl"] = image(tf.raw_ops.DecodeJxl)
    for name, body in graphs.items():

        def call(x, body=body):
            return {"y": body(x)}

        signature = tf.function(call).get_concrete_function(tf.TensorSpec([None], tf.string, name="x"))
        tf.saved_model.save(tf.Module(), str(folder / name), signatures=signature)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
