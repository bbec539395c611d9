"""Composition of tokenizer, encoder and heads into one SavedModel, written to a folder.

::

    saved_model.pb, fingerprint.pb, variables/     weights once, whatever the number of signatures
    assets/vocab.txt                               the vocabulary, one token per line, for people and tools
    signatures: see :mod:`.signatures`, each string ``text`` [batch] -> its outputs
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import Error as ProtobufError

from ...serving.contract import DEFAULT_SIGNATURE, default_of
from .. import scratch
from ..errors import ConfigError, OutputError, UnsupportedModel, first_line
from ..families.config import ACTIVATIONS, EncoderConfig
from ..recipe import Recipe
from ..sources import hub
from ..sources.checkpoint import Checkpoint
from ..tokenizers.tokenizer import Tokenizer
from .encoder import NativeEncoder
from .heads import HEADS
from .hub_encoder import HubEncoder
from .signatures import ServingModule

#: Largest difference of outputs of the same BERT; other encoders differ far more. (The result is verified in any case.)
_SAME = 1e-2


def export(recipe: Recipe, checkpoint: Checkpoint, folder: Path) -> Recipe:
    """Build the SavedModel of a recipe and write it to ``folder``; returns the recipe with the chosen encoder.

    Raises:
        ConfigError, UnsupportedModel: see :func:`choose_encoder`.
        OutputError: see :func:`write`.
    """
    impl, built = module(recipe, checkpoint)
    write(built, recipe.signatures, checkpoint, folder)
    return replace(recipe, encoder=impl)


def module(recipe: Recipe, checkpoint: Checkpoint) -> tuple[str, ServingModule]:
    """The kind of the encoder, and a module of tokenizer, encoder and heads; raises as :func:`choose_encoder`."""
    impl, encoder = choose_encoder(checkpoint, recipe.encoder, recipe.pair, recipe.precision)
    tokenizer = Tokenizer(checkpoint.tokenizer, recipe.max_seq_length, recipe.tokenization)
    heads = {name: HEADS[name](checkpoint) for name in recipe.signatures}
    return impl, ServingModule(tokenizer, encoder, heads, recipe.pair)


def choose_encoder(
    checkpoint: Checkpoint, impl: str, pair: bool = False, precision: str = "float32"
) -> tuple[str, Any]:
    """The encoder for ``impl`` (``auto``, ``native`` or ``hub``), and its kind.

    Raises:
        ConfigError: ``hub`` for a source that is not a Hub encoder, or pairs for an encoder of single texts.
        UnsupportedModel: ``native``, or a precision other than float32, for weights that are not understood.
    """
    if impl == "hub" and checkpoint.hub_layer is None:
        raise ConfigError(
            f"encoder_impl hub wraps a Hub encoder, but {checkpoint.location} is a {checkpoint.kind} folder; "
            "use native or auto"
        )
    types = 1 + max(piece.type for piece in checkpoint.tokenizer.template.pair)
    if pair and checkpoint.encoder is not None and 0 < checkpoint.encoder.type_vocab_size < types:
        raise ConfigError(
            f"{checkpoint.location} has {checkpoint.encoder.type_vocab_size} token types (type_vocab_size), but its "
            f"tokenizer gives pairs {types}; use --no-pair"
        )
    if checkpoint.hub_layer is None:
        assert checkpoint.encoder is not None
        return "native", NativeEncoder(checkpoint.encoder, checkpoint.weights, precision)
    layer = checkpoint.hub_layer()
    layer.find_form(checkpoint.tokenizer.template.single[0].special or 0)
    if impl != "hub":
        if checkpoint.encoder is not None:
            config = _resolved(checkpoint.encoder, checkpoint, layer)
            if config is not None:
                return "native", NativeEncoder(config, checkpoint.weights, precision)
        if impl == "native" or precision != "float32":
            raise UnsupportedModel(
                f"{checkpoint.location}: the weights are not those of a plain BERT, so the encoder cannot be rebuilt; "
                "use --encoder-impl hub" + (f" without --precision {precision}" if precision != "float32" else "")
            )
    return "hub", HubEncoder(layer)


def _resolved(config: EncoderConfig, checkpoint: Checkpoint, layer: hub.TextLayer) -> EncoderConfig | None:
    """The configuration, with the activation that reproduces the Hub layer's outputs; ``None`` if no activation does.

    (A Hub layer does not state its kind of GELU.)
    """
    rng = np.random.default_rng(0)
    length = min(16, config.max_positions)
    ids = tf.constant(rng.integers(0, config.vocab_size, (4, length)), tf.int32)
    mask = tf.sequence_mask([length, length, length // 2, 2], length, tf.int32)
    wanted_sequence, wanted_pooled = layer(ids, mask)
    candidates = []
    for activation in ACTIVATIONS:
        candidate = replace(config, activation=activation)
        sequence, pooled = NativeEncoder(candidate, checkpoint.weights)(ids, mask)
        real = tf.cast(mask, tf.float32)[:, :, tf.newaxis]
        off = max(
            float(tf.reduce_max(tf.abs(sequence - wanted_sequence) * real)),
            float(tf.reduce_max(tf.abs(pooled - wanted_pooled))),
        )
        candidates.append((off, candidate))
    off, closest = min(candidates, key=lambda each: each[0])
    return closest if off < _SAME else None


def write(module: ServingModule, names: Sequence[str], checkpoint: Checkpoint, folder: Path) -> None:
    """Write the SavedModel to ``folder``.

    Raises:
        OutputError: the folder cannot be written, or the graph is larger than a SavedModel can be.
    """
    functions = module.functions(names)
    with scratch.temporary() as assets:
        vocab = assets / "vocab.txt"
        lines = ["" if token is None else token for token in checkpoint.tokenizer.vocab]
        vocab.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
        module.vocab_file = tf.saved_model.Asset(os.fspath(vocab))
        try:
            tf.saved_model.save(module, os.fspath(folder), signatures=functions)
            _tidy(folder, names)
        except (tf.errors.OpError, OSError, ProtobufError, ValueError) as error:
            reason = getattr(error, "message", None) or str(error)
            if isinstance(error, ProtobufError) or re.search(r"2 ?GB|2147483647", reason):
                raise OutputError(
                    f"{folder}: the graph is larger than the 2 GB of a saved_model.pb ({first_line(error)}): weights "
                    "must be variables, not constants; give the original checkpoint in place of a SavedModel of it, or "
                    "use --encoder-impl native"
                ) from error
            if isinstance(error, ValueError):
                raise
            raise OutputError(f"{folder}: the SavedModel cannot be written: {reason}") from error


def _tidy(folder: Path, names: Sequence[str]) -> None:
    """Remove attributes without effect that older servers do not know, and turn the default into a real alias.

    TensorFlow writes the default as a separate signature, and a server would optimise it and keep its kernels in
    addition to those of the original.
    """
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.saved_model import fingerprinting_utils

    path = folder / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta_graph in saved_model.meta_graphs:
        graph = meta_graph.graph_def
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            for node in nodes:
                if node.op == "VarHandleOp" and "debug_name" in node.attr:
                    del node.attr["debug_name"]
        signatures = meta_graph.signature_def
        signatures[DEFAULT_SIGNATURE].CopyFrom(signatures[default_of(names)])
    path.write_bytes(saved_model.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(os.fspath(folder))
