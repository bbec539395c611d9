"""Training over a Hub encoder that cannot be rebuilt: ``hub.KerasLayer(trainable=True)`` and a dense layer.

Texts are padded, and the encoder's own dropout is not used, because a continued run could not reproduce its random
numbers. The folder of the run is a saved tf_keras model, which :mod:`..sources.keras_model` reads.
"""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from .. import scratch
from ..errors import ConfigError, OutputError, UnsupportedModel, os_errors_as
from ..sources import run
from ..sources.checkpoint import Checkpoint, describe_files
from ..sources.keras_model import PARTS
from .config import FinetuneConfig
from .labels import MULTI, REGRESSION, SINGLE, Problem
from .model import INITIAL, dropped

_NAMES = ("input_word_ids", "input_mask", "input_type_ids")
#: Dropout rate before the head's only layer.
_DROPOUT = 0.1
#: The file that is written last: a folder without it is not a model.
_LAST = "saved_model.pb"


def require_trainable(checkpoint: Checkpoint, config: FinetuneConfig, problem: Problem) -> None:
    """Refuse problems and settings that such an encoder does not support.

    Raises:
        UnsupportedModel: a task for which tf_keras models cannot be exported.
        ConfigError: a setting that needs the encoder's layers.
    """
    other = "take the same model in Hugging Face's format"
    # One output with a sigmoid is read as two classes.
    fits = problem.kind in (SINGLE, REGRESSION) or (problem.kind == MULTI and len(problem.labels) > 1)
    if config.text_pair is not None or not fits:
        raise UnsupportedModel(
            f"{checkpoint.location}: its weights or its tokenizer are not those of a plain BERT; such an encoder of TF "
            f"Hub can be trained only for classes and numbers of single texts; {other}"
        )
    if config.layer_decay != 1 or config.precision == "bfloat16":
        what = "layer_decay" if config.layer_decay != 1 else "precision bfloat16"
        raise ConfigError(f"{what}: the layers of {checkpoint.location} are not known; leave it out, or {other}")


class HubModel(tf.Module):
    """Encoder and head, with the methods of :class:`.model.Model` that :class:`.loop.Trainer` uses.

    Args:
        checkpoint: checkpoint of the Hub encoder.
        problem: the problem.
        length: maximum tokens of a text.
        seed: seed of the head's initial weights.

    Raises:
        UnsupportedModel: no trainable weights.
    """

    def __init__(self, checkpoint: Checkpoint, problem: Problem, length: int, seed: int) -> None:
        super().__init__(name="hub_model")
        import tensorflow_hub as hub
        import tf_keras

        assert checkpoint.hub_layer is not None
        form = checkpoint.hub_layer()
        form.find_form(checkpoint.tokenizer.template.single[0].special or 0)
        self._takes_dict, self._problem = form.takes_dict, problem
        self._layer = hub.KerasLayer(os.fspath(checkpoint.location), trainable=True, name="encoder")
        if not self._layer.trainable_weights:
            raise UnsupportedModel(
                f"{checkpoint.location}: it has no trainable_variables that hub.KerasLayer could train"
            )
        inputs = [tf_keras.layers.Input((length,), dtype=tf.int32, name=name) for name in _NAMES]
        pooled = self._pooled(*inputs)
        activation = {"identity": None}.get(problem.activation, problem.activation)
        self._dense = tf_keras.layers.Dense(len(problem.labels), activation, dtype=tf.float32, name="head")
        given = dict(zip(_NAMES, inputs, strict=True)) if self._takes_dict else inputs
        self._keras = tf_keras.Model(given, self._dense(pooled))
        self.config = SimpleNamespace(hidden_size=checkpoint.hidden_size, stored_layers=0)
        kernel = np.random.default_rng([seed, 3]).normal(0, INITIAL, (checkpoint.hidden_size, len(problem.labels)))
        self.head = {
            "head/output/kernel": tf.Variable(kernel.astype(np.float32)),
            "head/output/bias": tf.Variable(np.zeros(len(problem.labels), np.float32)),
        }

    @property
    def values(self) -> dict[str, tf.Variable]:
        """All trained weights by name."""
        weights = self._layer.trainable_weights
        return {**{f"encoder/{at}/{each.name}": each for at, each in enumerate(weights)}, **self.head}

    def _pooled(self, *inputs: tf.Tensor) -> tf.Tensor:
        if self._takes_dict:
            return self._layer(dict(zip(_NAMES, inputs, strict=True)), training=False)["pooled_output"]
        return self._layer(list(inputs), training=False)[0]

    def vectors(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """``pooled_output`` of each text, float32 ``[B, H]``."""
        return tf.cast(self._pooled(ids, mask, types), tf.float32)

    def logits(self, vectors: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """``[B, H]`` -> ``[B, L]``."""
        x = dropped(vectors, _DROPOUT, seed, "head")
        return tf.nn.bias_add(tf.matmul(x, self.head["head/output/kernel"]), self.head["head/output/bias"])

    def write(self, folder: Path) -> str:
        """Save the model; after an interrupted write, the folder has no ``saved_model.pb``.

        Returns:
            The sha256 of the file of its weights.

        Raises:
            OutputError: it cannot be written.
        """
        kernel, bias = (value.numpy() for value in self.head.values())
        if self._problem.kind == REGRESSION:  # the last layer takes its scale
            scale = np.float32(self._problem.scale)
            kernel, bias = kernel * scale, bias * scale + np.float32(self._problem.mean)
        self._dense.set_weights([kernel, bias])
        with os_errors_as(OutputError, f"{folder}: the model cannot be written"), scratch.hidden(folder) as new:
            try:
                self._keras.save(new, include_optimizer=False, save_format="tf")
            except tf.errors.OpError as error:
                raise OutputError(f"{folder}: the model cannot be written: {error.message}") from error
            (folder / _LAST).unlink(missing_ok=True)
            for name in (*(part for part in PARTS if part != _LAST), _LAST):
                shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink(missing_ok=True)
                if (new / name).exists():
                    os.replace(new / name, folder / name)
        (described,) = describe_files([folder / run.VARIABLES], folder)
        return described.sha256
