"""Tiny models that a user could build with tf_keras: hub_bert with a head, trained for a few steps."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from folders import DATA

HUB = DATA / "hub_bert"
NAMES = ("input_word_ids", "input_mask", "input_type_ids")
#: Forms of a saved model: the ending of its name, empty for a folder.
FORMS = ("", ".keras", ".h5")
TEXTS = ("the cat sat", "a dog", "the big dog sat on the cat .", "", "ΟΔΟΣ ½ the cat", "cat " * 40)


def preprocessor(target: Path) -> Path:
    """The Hub preprocessing model of tests/data, unpacked."""
    with tarfile.open(DATA / "hub_preprocess.tar.xz") as archive:
        archive.extractall(target, filter="data")
    return target


Head = Callable[[Any, dict[str, Any]], Any]


def around(head: Head, **settings: Any) -> Any:
    """A functional model; ``head`` computes its output from the encoder's outputs and the inputs. Settings as below."""
    import tf_keras

    given, inputs, outputs = encoded(**settings)
    return tf_keras.Model(given, head(outputs, inputs))


def encoded(
    length: int | None = 32, before: Path | None = None, hub_folder: Path = HUB, **settings: Any
) -> tuple[Any, dict[str, Any], Any]:
    """The inputs of a model, the inputs of the encoder, and the encoder's outputs.

    Args:
        length: length of the inputs.
        before: a preprocessing model, for a model that takes strings.
        hub_folder: folder of the encoder.
        settings: settings of the encoder's layer.
    """
    import tensorflow as tf
    import tensorflow_hub as hub
    import tensorflow_text  # noqa: F401
    import tf_keras

    if before is None:
        given = inputs = {name: tf_keras.layers.Input((length,), dtype=tf.int32, name=name) for name in NAMES}
    else:
        given = tf_keras.layers.Input((), dtype=tf.string, name="text")
        inputs = hub.KerasLayer(str(before), name="preprocessing")(given)
    return given, inputs, hub.KerasLayer(str(hub_folder), **{"trainable": True, "name": "encoder", **settings})(inputs)


def users_head(outputs: Any, inputs: Any) -> Any:
    """The head of the user's own example."""
    import tf_keras

    return tf_keras.layers.Dense(1, activation="sigmoid")(tf_keras.layers.Dropout(0.1)(outputs["pooled_output"]))


def stacked(takes: str, *layers: tuple[str, dict[str, Any]]) -> Head:
    """A head of consecutive layers, each with a class and settings; two names are not classes."""

    def head(outputs: Any, inputs: Any) -> Any:
        import tf_keras

        x = outputs[takes]
        for name, settings in layers:
            if name == "first":
                x = x[:, 0, :]
            elif name == "masked mean":
                x = tf_keras.layers.GlobalAveragePooling1D()(x, mask=inputs["input_mask"])
            else:
                x = getattr(tf_keras.layers, name)(**settings)(x)
        return x

    return head


def tokens_of(texts: Sequence[str], length: int = 32) -> dict[str, np.ndarray]:
    """The inputs of the user's own code: padded ids of the Hub encoder's vocabulary."""
    import transformers

    tokenizer = transformers.BertTokenizer(vocab=str(HUB / "assets" / "vocab.txt"))
    encoded = tokenizer(list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="np")
    columns = ("input_ids", "attention_mask", "token_type_ids")
    return {name: encoded[column].astype(np.int32) for name, column in zip(NAMES, columns, strict=True)}


def fitted(model: Any, fed: Any, loss: Any = "binary_crossentropy") -> Any:
    """The model after a few steps of training, which clearly change its encoder."""
    import tf_keras

    rows = len(next(iter(fed.values()))) if isinstance(fed, dict) else len(fed)
    wanted = np.arange(rows) % 2
    if model.output_shape[-1] == 1:
        wanted = wanted[:, np.newaxis].astype(np.float32)
    model.compile(tf_keras.optimizers.Adam(3e-3), loss=loss)
    model.fit(fed, wanted, epochs=3, batch_size=2, verbose=0)
    return model


def shaken(model: Any, seed: int = 0) -> Any:
    """The model with other weights, as after training, but without training."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign_add(rng.normal(0, 0.05, weight.shape))
    return model
