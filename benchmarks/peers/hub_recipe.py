"""The canonical Hub recipe: the Hub's preprocessing and a Hub encoder in one Keras model, sequence length 128.

https://www.tensorflow.org/text/tutorials/classify_text_with_bert, with the pooling of the model's training. The
preprocessing is that of the Hub's preprocessing models (tensorflow-text's BertTokenizer, trimmer, segments and padding
to a fixed length), as in https://www.tensorflow.org/text/guide/bert_preprocessing_guide.
"""

from __future__ import annotations

from . import hub
from .base import Setup, mean_pooled
from .saved_model import Exported

__all__ = ["Peer"]


class Peer(Exported):
    """See :class:`.base.Contestant`."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, setup.work / "hub-recipe" / "1", "serving_default", "embedding")

    def prepare(self) -> None:
        """Build the model and save it."""
        if (self._folder / "saved_model.pb").is_file():
            return
        import tensorflow as tf
        import tensorflow_hub
        import tensorflow_text
        import tf_keras

        length = self._setup.max_tokens
        encoder_folder = hub.folder(self._setup)
        vocabulary = str(encoder_folder / "assets" / "vocab.txt")
        words = (encoder_folder / "assets" / "vocab.txt").read_text("utf-8").splitlines()
        start, end = words.index("[CLS]"), words.index("[SEP]")

        class Preprocess(tf_keras.layers.Layer):
            def __init__(self) -> None:
                super().__init__()
                self._tokenizer = tensorflow_text.BertTokenizer(vocabulary, token_out_type=tf.int32, lower_case=True)
                self._trimmer = tensorflow_text.RoundRobinTrimmer(max_seq_length=length - 2)

            def call(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
                tokens = self._tokenizer.tokenize(text).merge_dims(1, 2)  # [B, (tokens)]
                trimmed = self._trimmer.trim([tokens])
                ids, types = tensorflow_text.combine_segments(trimmed, start, end)
                padded, mask = tensorflow_text.pad_model_inputs(ids, length)  # [B, 128]
                types, _ = tensorflow_text.pad_model_inputs(types, length)
                return {"input_word_ids": padded, "input_mask": mask, "input_type_ids": types}

        text = tf_keras.Input([], dtype=tf.string, name="text")
        inputs = Preprocess()(text)
        outputs = tensorflow_hub.KerasLayer(str(encoder_folder), trainable=True)(inputs)
        pooled = tf_keras.layers.Lambda(lambda both: mean_pooled(*both), name="embedding")(
            (outputs["sequence_output"], inputs["input_mask"])
        )
        tf_keras.Model(text, {"embedding": pooled}).save(self._folder, include_optimizer=False)
