"""TF Hub (Kaggle) text encoders: a SavedModel folder with one of the two forms of the Hub's text API.

Since version 3 (tf-models-official's ``export_tfhub_lib``) the restored object takes a dict of int32
``input_word_ids``, ``input_mask`` and ``input_type_ids`` ``[batch, tokens]`` and returns a dict with
``pooled_output`` and ``sequence_output``; before (``export_tfhub``), a list of the three in this order, and a pair
``pooled_output, sequence_output``. It carries its vocabulary as ``vocab_file`` and ``do_lower_case``, or (ALBERT) a
SentencePiece model as ``sp_model_file``.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...serving.interrupts import held
from ..errors import CorruptSource, ExportError, UnsupportedModel, first_line
from ..families.config import EncoderConfig, canonical_shapes
from ..families.names import TF_MODELS, TF_MODELS_SHARED
from ..tokenizers.spec import TokenizerSpec
from . import sentencepiece, tokenizer_files
from .checkpoint import Checkpoint, describe_files
from .files import tf_checkpoint
from .stored import StoredTensor, bind

#: Maximum length for encoders without a visible position table: the default of the Hub's preprocessors.
_DEFAULT_LENGTH = 128

#: Weights that take no part in ``pooled_output`` and ``sequence_output``: the masked-language-model head.
_UNUSED = re.compile(r"(^|/)(predictions|masked_lm|cls)(/|$)")


class TextLayer:
    """A ``hub.KerasLayer`` over a Hub encoder, not trainable, with one calling convention for both forms.

    Args:
        handle: folder of its SavedModel, or an object that TensorFlow restored from one.
        where: its file, for errors; the folder if left out.

    Attributes:
        resolved_object: the object that TensorFlow restored.
        hidden_size: width of its vectors, after the form is found.
        takes_dict: its form, after it is found: a dict of the three inputs, or a list.
        num_layers: number of its layers, after the form is found; 0 if it does not return their outputs.

    Raises:
        CorruptSource: TensorFlow cannot load the folder.
        UnsupportedModel: not a TF2 SavedModel that can be called.
    """

    def __init__(self, handle: Any, where: Path | None = None) -> None:
        self._where = handle if where is None else where
        if (self._where / "tfhub_module.pb").is_file():
            raise UnsupportedModel(
                f"{self._where}: a hub.Module in the format of TensorFlow 1 (found tfhub_module.pb), which TensorFlow "
                "2 cannot call; expected a TF2 SavedModel: take version 2 or later of the same handle, or the original "
                "checkpoint (bert_model.ckpt, bert_config.json and vocab.txt)"
            )
        with held():
            import tensorflow_hub as hub
            import tensorflow_text  # noqa: F401  registers ops that the encoder may use

        try:
            layer = hub.KerasLayer(os.fspath(handle) if isinstance(handle, Path) else handle, trainable=False)
        except ValueError as error:
            raise UnsupportedModel(f"{self._where}: hub.KerasLayer cannot use it: {first_line(error)}") from error
        # TensorFlow's loader raises many kinds of exceptions: missing shards, cut protos, unknown ops.
        except Exception as error:
            raise CorruptSource(f"{self._where}: TensorFlow cannot load it: {first_line(error)}") from error
        self._call = layer.call
        self.takes_dict = True
        self.resolved_object = layer.resolved_object
        self.hidden_size = self.num_layers = 0

    def find_form(self, token: int) -> None:
        """Call it once in each form, with a text of two tokens of this id, and keep the form that works.

        Raises:
            UnsupportedModel: neither form works.
        """
        import tensorflow as tf

        ids = tf.constant([[token, token]], tf.int32)
        reasons = []
        for self.takes_dict in (True, False):
            try:
                sequence, pooled = self(ids, tf.ones_like(ids))
            except UnsupportedModel as error:
                raise UnsupportedModel(f"{self._where}: {error}") from None
            # TensorFlow raises many kinds of exceptions for arguments that it was not traced for.
            except Exception as error:
                reasons.append(first_line(error))
                continue
            if sequence.shape.rank == 3 and pooled.shape.rank == 2:
                self.hidden_size = int(sequence.shape[-1])
                return
            reasons.append(f"the outputs have the shapes {sequence.shape} and {pooled.shape}")
        raise UnsupportedModel(
            f"{self._where}: the encoder takes neither a dict of input_word_ids, input_mask and input_type_ids "
            f"({reasons[0]}) nor a list of the three ({reasons[1]})"
        )

    def __call__(self, ids: Any, mask: Any, types: Any = None) -> tuple[Any, Any]:
        """Encode texts.

        Args:
            ids: int32 ``[batch, tokens]``.
            mask: int32 ``[batch, tokens]``.
            types: int32 ``[batch, tokens]``, 0 if left out.

        Returns:
            ``sequence_output`` ``[batch, tokens, hidden]`` and ``pooled_output`` ``[batch, hidden]``.
        """
        import tensorflow as tf

        names = ("input_word_ids", "input_mask", "input_type_ids")
        inputs = [ids, mask, tf.zeros_like(ids) if types is None else types]
        if not self.takes_dict:
            pooled, sequence = self._call(inputs)
            return sequence, pooled
        outputs = self._call(dict(zip(names, inputs, strict=True)))
        if not isinstance(outputs, dict) or not {"pooled_output", "sequence_output"} <= set(outputs):
            found = ", ".join(sorted(outputs)) if isinstance(outputs, dict) else type(outputs).__name__
            raise UnsupportedModel(f"the encoder returns {found}; expected pooled_output and sequence_output")
        self.num_layers = len(outputs.get("encoder_outputs", ()))
        return outputs["sequence_output"], outputs["pooled_output"]


def is_folder(folder: Path) -> bool:
    """Whether this is a SavedModel folder."""
    return (folder / "saved_model.pb").is_file()


def read(folder: Path) -> Checkpoint:
    """Read a Hub text encoder.

    Raises:
        UnsupportedModel: not a text encoder with the Hub's common API.
        CorruptSource: it cannot be loaded.
        VocabularyError: its vocabulary does not fit its embedding table.
    """
    layer = TextLayer(folder)
    found = layer.resolved_object
    if hasattr(found, "layer-0") and not hasattr(found, "vocab_file") and not (folder / "keras_metadata.pb").is_file():
        raise UnsupportedModel(
            f"{folder}: a Keras model without keras_metadata.pb, which describes its layers; save it with "
            "tf_keras: model.save(folder), not with tf.saved_model.save or model.export"
        )
    variables, _ = tf_checkpoint.read(folder / "variables" / "variables")
    return replace(
        describe(layer, variables, folder),
        hub_layer=partial(TextLayer, folder),
        files=describe_files(sorted(folder.rglob("*")), folder),
    )


def describe(layer: TextLayer, variables: dict[str, StoredTensor], location: Path) -> Checkpoint:
    """Describe a Hub text encoder, without its files.

    Args:
        layer: the encoder.
        variables: its variables, by name.
        location: its source.

    Raises:
        As :func:`read`.
    """
    rules, notes, vocab_path = _tokenizer(layer.resolved_object, location)
    layer.find_form(rules.template.single[0].special or 0)

    rows = _rows(variables, "embeddings/word")
    if rows is not None:
        rules, more = tokenizer_files.fit(rules, rows, vocab_path)
        notes += more
    max_positions = _rows(variables, "embeddings/position")
    config, weights = _understand(variables, layer.num_layers, location)
    if not max_positions:
        notes.append(f"the encoder has no visible position table: texts are cut at {_DEFAULT_LENGTH} tokens")
    return Checkpoint(
        kind="hub",
        location=location,
        tokenizer=rules,
        max_seq_length=max_positions or _DEFAULT_LENGTH,
        hidden_size=layer.hidden_size,
        encoder=config,
        weights=weights,
        max_positions=max_positions,
        notes=tuple(notes),
    )


def _tokenizer(encoder: Any, location: Path) -> tuple[TokenizerSpec, list[str], Path]:
    """The tokenizer's rules of a restored object, notes for the user, and the file of its vocabulary."""
    stated = getattr(encoder, "do_lower_case", None)
    lowercase = None if stated is None else bool(np.asarray(stated))
    for name in ("vocab_file", "sp_model_file"):
        if hasattr(encoder, name):
            path = Path(getattr(encoder, name).asset_path.numpy().decode())
            if name == "vocab_file":
                return *tokenizer_files.read_vocab_file(path, lowercase), path
            # All ALBERTs on TF Hub are lower-cased, and do not say so.
            return sentencepiece.read_hub_model(path, lowercase is not False), [], path
    raise UnsupportedModel(
        f"{location}: expected a vocab_file (WordPiece) or an sp_model_file (SentencePiece) for this encoder, found "
        "none"
    )


def _rows(variables: dict[str, StoredTensor], table: str) -> int | None:
    """Number of rows of a table, found by its name; ``None`` if there is none."""
    (ending,) = TF_MODELS.spellings(table)
    return next((tensor.shape[0] for name, tensor in variables.items() if name.endswith(ending)), None)


def _understand(
    variables: dict[str, StoredTensor], num_layers: int, folder: Path
) -> tuple[EncoderConfig | None, Mapping[str, np.ndarray]]:
    """Configuration and weights of a plain BERT or ALBERT; ``None`` and no weights for any other model.

    Args:
        variables: its variables, by name.
        num_layers: number of layers, if the model states it; else 0.
        folder: its source.
    """
    is_albert = any(name.startswith("transformer/self_attention/") for name in variables)
    naming = TF_MODELS_SHARED if is_albert else TF_MODELS

    def shape(name: str) -> tuple[int, ...]:
        (key,) = naming.spellings(name)
        return variables[key].shape

    if not is_albert:
        num_layers = 0
        while naming.spellings(f"layer_{num_layers}/intermediate/bias")[0] in variables:
            num_layers += 1
    try:
        is_projected = naming.spellings("embeddings/project/kernel")[0] in variables
        config = EncoderConfig(
            vocab_size=shape("embeddings/word")[0],
            hidden_size=shape("layer_0/output/bias")[0],
            num_layers=num_layers,
            num_heads=shape("layer_0/attention/query/kernel")[1],
            intermediate_size=shape("layer_0/intermediate/bias")[0],
            max_positions=shape("embeddings/position")[0],
            type_vocab_size=shape("embeddings/type")[0],
            # Hub encoders were exported with one of two GELUs and do not state which: their outputs decide.
            activation=None,
            layer_norm_eps=1e-12,
            family="albert" if is_albert else "bert",
            embedding_size=shape("embeddings/word")[1] if is_projected else None,
            layer_groups=1 if is_albert else None,
        )
        weights = bind(variables, config, naming, folder, folder / "saved_model.pb")
    except (KeyError, IndexError, ExportError):
        return None, {}
    expected = {key for name in canonical_shapes(config) for key in naming.spellings(name)}
    others = {name for name, tensor in variables.items() if tensor.floating and not _UNUSED.search(name)}
    return (config, weights) if num_layers and others == expected else (None, {})
