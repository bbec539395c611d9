"""TF Hub (Kaggle) text encoders: a SavedModel folder with the Hub's common text API, version 3 and later.

The format is that of tf-models-official's ``export_tfhub_lib``: the restored object takes a dict of int32
``input_word_ids``, ``input_mask`` and ``input_type_ids`` ``[batch, tokens]``, returns a dict with
``pooled_output`` and ``sequence_output``, and carries its vocabulary as ``vocab_file`` and ``do_lower_case``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptSource, ExportError, UnsupportedModel
from . import tokenizer_rules
from .checkpoint import BertConfig, Checkpoint, canonical_shapes, check_shapes, describe_file

__all__ = ["is_folder", "load_layer", "read"]

#: Where an encoder does not show how many positions it has: the default length of the Hub's preprocessors.
_DEFAULT_LENGTH = 128

_NAMES = {
    "word_embeddings/embeddings": "embeddings/word",
    "position_embedding/embeddings": "embeddings/position",
    "type_embeddings/embeddings": "embeddings/type",
    "embeddings/layer_norm": "embeddings/layer_norm",
    "self_attention/query": "attention/query",
    "self_attention/key": "attention/key",
    "self_attention/value": "attention/value",
    "self_attention/attention_output": "attention/output",
    "self_attention_layer_norm": "attention/layer_norm",
    "intermediate": "intermediate",
    "output": "output",
    "output_layer_norm": "output/layer_norm",
    "pooler_transform": "pooler",
}
_LAYER = re.compile(r"^transformer/layer_(\d+)/(.+)$")
_LEAVES = ("kernel", "bias", "gamma", "beta")
#: Weights that take no part in ``pooled_output`` and ``sequence_output``: the masked-language-model head.
_UNUSED = re.compile(r"(^|/)(predictions|masked_lm|cls)(/|$)")


def is_folder(folder: Path) -> bool:
    """Whether this is a SavedModel folder."""
    return (folder / "saved_model.pb").is_file()


def load_layer(folder: Path) -> Any:
    """The ``hub.KerasLayer`` over a Hub folder, not trainable.

    Raises:
        CorruptSource: TensorFlow cannot load the folder.
        UnsupportedModel: it is no TF2 SavedModel that can be called.
    """
    import tensorflow_hub as hub
    import tensorflow_text  # noqa: F401  registers ops that the encoder may use

    try:
        return hub.KerasLayer(os.fspath(folder), trainable=False)
    except ValueError as error:
        raise UnsupportedModel(f"{folder}: hub.KerasLayer cannot use it: {_first_line(error)}") from error
    # TensorFlow raises whatever its loader runs into: missing shards, cut protos, unknown ops.
    except Exception as error:
        raise CorruptSource(f"{folder}: TensorFlow cannot load it: {_first_line(error)}") from error


def read(folder: Path) -> Checkpoint:
    """Read a Hub text encoder.

    Raises:
        UnsupportedModel: it is no text encoder with the Hub's common API.
        CorruptSource: it cannot be loaded.
        VocabularyError: its vocabulary does not fit its embedding table.
    """
    layer = load_layer(folder)
    encoder = layer.resolved_object
    vocab_file = getattr(encoder, "vocab_file", None)
    if vocab_file is None:
        found = "a SentencePiece model" if hasattr(encoder, "sp_model_file") else "none"
        raise UnsupportedModel(
            f"{folder}: a vocab_file (WordPiece) is needed to tokenize for this encoder; found {found}"
        )
    vocab_path = Path(vocab_file.asset_path.numpy().decode())
    lowercase = bool(np.asarray(getattr(encoder, "do_lower_case", True)))
    rules = tokenizer_rules.read_vocab_file(vocab_path, lowercase=lowercase)

    hidden = _probe(layer, rules.cls_id, folder)
    # A SavedModel that Keras did not write may list no variables.
    variables = {variable.name.partition(":")[0]: variable for variable in getattr(encoder, "variables", ())}
    table = next((v for name, v in variables.items() if name.endswith("word_embeddings/embeddings")), None)
    if table is not None:
        rules = tokenizer_rules.fit(rules, int(table.shape[0]), folder)
    positions = next((v for name, v in variables.items() if name.endswith("position_embedding/embeddings")), None)
    max_positions = int(positions.shape[0]) if positions is not None else None
    config, weights = _understand(variables, folder)
    notes = (
        () if max_positions else (f"the encoder shows no position table: texts are cut at {_DEFAULT_LENGTH} tokens",)
    )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Checkpoint(
        kind="hub",
        location=folder,
        tokenizer=rules,
        max_seq_length=max_positions or _DEFAULT_LENGTH,
        hidden_size=hidden,
        bert=config,
        weights=weights,
        max_positions=max_positions,
        hub_path=folder,
        files=tuple(describe_file(path, folder) for path in files),
        notes=notes,
    )


def _probe(layer: Any, cls_id: int, folder: Path) -> int:
    """Call the encoder once; its hidden size."""
    import tensorflow as tf

    ids = tf.constant([[cls_id, cls_id]], tf.int32)
    inputs = {"input_word_ids": ids, "input_mask": tf.ones_like(ids), "input_type_ids": tf.zeros_like(ids)}
    try:
        outputs = layer(inputs)
    except Exception as error:
        raise UnsupportedModel(
            f"{folder}: the encoder does not take a dict of input_word_ids, input_mask and input_type_ids: "
            f"{_first_line(error)}"
        ) from error
    if not isinstance(outputs, dict) or not {"pooled_output", "sequence_output"} <= set(outputs):
        found = ", ".join(sorted(outputs)) if isinstance(outputs, dict) else type(outputs).__name__
        raise UnsupportedModel(f"{folder}: the encoder returns {found}; pooled_output and sequence_output are needed")
    return int(outputs["sequence_output"].shape[-1])


def _understand(variables: dict[str, Any], folder: Path) -> tuple[BertConfig | None, dict[str, np.ndarray]]:
    """Configuration and weights of a plain BERT; ``None`` and nothing where it is something else."""
    named: dict[str, Any] = {}
    for name, variable in variables.items():
        canonical = _canonical(name)
        if canonical is not None:
            named[canonical] = variable
        elif variable.dtype.is_floating and not _UNUSED.search(name):
            return None, {}
    try:
        config = _configuration(named)
    except (KeyError, IndexError):
        return None, {}
    shapes = canonical_shapes(config)
    if set(named) != set(shapes):
        return None, {}
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    if any(variable.shape.num_elements() != sizes[name] for name, variable in named.items()):
        return None, {}
    # The Hub keeps attention kernels as [hidden, heads, head_dim] and [heads, head_dim, hidden].
    weights = {name: variable.numpy().astype(np.float32).reshape(shapes[name]) for name, variable in named.items()}
    try:
        check_shapes(weights, config, folder)
    except ExportError:
        return None, {}
    return config, weights


def _canonical(name: str) -> str | None:
    layer = _LAYER.match(name)
    prefix, rest = (f"layer_{layer.group(1)}/", layer.group(2)) if layer else ("", name)
    if rest in _NAMES:
        return prefix + _NAMES[rest]
    stem, _, leaf = rest.rpartition("/")
    return f"{prefix}{_NAMES[stem]}/{leaf}" if stem in _NAMES and leaf in _LEAVES else None


def _configuration(named: dict[str, Any]) -> BertConfig:
    layers = {int(name[6 : name.index("/")]) for name in named if name.startswith("layer_")}
    query = named["layer_0/attention/query/kernel"]
    return BertConfig(
        vocab_size=int(named["embeddings/word"].shape[0]),
        hidden_size=int(named["embeddings/word"].shape[1]),
        num_layers=len(layers),
        num_heads=int(query.shape[1]),
        intermediate_size=int(named["layer_0/intermediate/bias"].shape[0]),
        max_positions=int(named["embeddings/position"].shape[0]),
        type_vocab_size=int(named["embeddings/type"].shape[0]),
        # Hub encoders were exported with either GELU and do not say which: their outputs decide.
        activation=None,
        layer_norm_eps=1e-12,
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
