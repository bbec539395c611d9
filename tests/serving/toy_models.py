"""Small real SavedModels whose answers can be computed by hand.

``save_text_model``: the contract's signatures, with bytes as tokens. The id of a byte is its value + 3; 0 is padding, 1
is the token before a text, 2 the token after it. A text of more than ``MAX_TOKENS - 2`` bytes is cut.

``save_arithmetic_model``: features that text models lack: several inputs, every dtype, scalars, failures.

``save_numbers_model``: texts are numbers, optionally with the letter x; an embedding is ``[version, number]``.

Functions that need TensorFlow import it, so that test collection does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

MAX_TOKENS = 16
HIDDEN = 4
DIM = 3
PAD, FIRST, LAST, OFFSET = 0, 1, 2, 3

TOKEN_OUTPUTS = ("input_word_ids", "input_mask", "start_offsets", "limit_offsets", "token_count")

#: Output of the "types" signature -> its dtype by name; its input is the same with an "i" before it.
ECHOED = (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bool", "string", "bfloat16", "complex64", "complex128",
)  # fmt: skip


def ids(text: bytes) -> list[int]:
    """Token ids of one text."""
    return [FIRST, *(byte + OFFSET for byte in text[: MAX_TOKENS - 2]), LAST]


def vectors(text: bytes, scale: float = 1.0) -> np.ndarray:
    """``sequence_output`` of one text, float32 ``[tokens, HIDDEN]``."""
    tokens = np.array(ids(text), np.float32)
    places = np.arange(len(tokens), dtype=np.float32)
    return np.stack([tokens, places, tokens * 0.5, np.ones_like(tokens)], axis=1) * np.float32(scale)


def pooled(text: bytes, scale: float = 1.0) -> np.ndarray:
    """``pooled_output`` of one text, float32 ``[HIDDEN]``."""
    return vectors(text, scale).sum(axis=0)


def embedding(text: bytes, scale: float = 1.0) -> np.ndarray:
    """``embedding`` of one text, float32 ``[DIM]``."""
    return vectors(text, scale).mean(axis=0)[:DIM]


def save_text_model(folder: Path, *, scale: float = 1.0, omit: tuple[str, ...] = (), megabytes: int = 0) -> None:
    """Write the model; ``scale`` distinguishes versions, ``omit`` leaves signatures out, ``megabytes`` adds size."""
    import tensorflow as tf

    class TextModel(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.scale = tf.Variable(scale, trainable=False)
            self.ballast = tf.Variable(tf.random.uniform([megabytes << 18]), trainable=False)

        def tokens(self, text: Any) -> dict[str, Any]:
            batch = tf.shape(text)[0]
            split = tf.strings.bytes_split(text)  # ragged [batch, bytes]
            values = tf.cast(tf.reshape(tf.io.decode_raw(split.flat_values, tf.uint8), [-1]), tf.int32) + OFFSET
            whole = tf.RaggedTensor.from_row_splits(values, split.row_splits)
            kept = whole[:, : MAX_TOKENS - 2]
            edge = tf.ones([batch, 1], tf.int32)
            rows = tf.concat([edge * FIRST, kept, edge * LAST], axis=1)
            starts = tf.concat([-edge, tf.ragged.range(tf.cast(kept.row_lengths(), tf.int32)), -edge], axis=1)
            limits = tf.where(starts.flat_values >= 0, starts.flat_values + 1, -1)
            return {
                "input_word_ids": rows.to_tensor(PAD),
                "input_mask": tf.ones_like(rows).to_tensor(0),
                "start_offsets": starts.to_tensor(-1),
                "limit_offsets": starts.with_flat_values(limits).to_tensor(-1),
                "token_count": tf.cast(whole.row_lengths(), tf.int32) + 2,
            }

        def vectors(self, tokens: dict[str, Any]) -> Any:
            ids = tf.cast(tokens["input_word_ids"], tf.float32)
            places = tf.ones_like(ids) * tf.range(tf.shape(ids)[1], dtype=tf.float32)
            mask = tf.cast(tokens["input_mask"], tf.float32)[:, :, tf.newaxis]
            return tf.stack([ids, places, ids * 0.5, tf.ones_like(ids)], axis=2) * mask * self.scale

        def sequence(self, text: Any) -> dict[str, Any]:
            tokens = self.tokens(text)
            return {"sequence_output": self.vectors(tokens), **tokens}

        def pooled(self, text: Any) -> dict[str, Any]:
            return {"pooled_output": tf.reduce_sum(self.vectors(self.tokens(text)), axis=1)}

        def embed(self, text: Any) -> dict[str, Any]:
            tokens = self.tokens(text)
            count = tf.reduce_sum(tf.cast(tokens["input_mask"], tf.float32), axis=1, keepdims=True)
            return {"embedding": (tf.reduce_sum(self.vectors(tokens), axis=1) / count)[:, :DIM]}

    model = TextModel()
    spec = tf.TensorSpec([None], tf.string, name="text")
    bodies = {"pooled": model.pooled, "sequence": model.sequence, "embed": model.embed, "tokenize": model.tokens}
    # Attributes of the module, as in an exporter: functions that are only signatures lose their variables.
    model.bodies = {name: tf.function(body) for name, body in bodies.items() if name not in omit}
    signatures = {name: body.get_concrete_function(spec) for name, body in model.bodies.items()}
    default = next(name for name in ("embed", "pooled", "tokenize") if name in signatures)
    signatures["serving_default"] = signatures[default]
    tf.saved_model.save(model, str(folder), signatures=signatures)


def save_arithmetic_model(folder: Path) -> None:
    """Write a model with signatures ``serving_default``, ``pair``, ``types``, ``scalar``, ``fails`` and ``slow``."""
    import tensorflow as tf

    def half_plus_two(x: Any) -> dict[str, Any]:
        return {"y": x / 2 + 2}

    def pair(x: Any, q: Any) -> dict[str, Any]:
        return {"sum": x + q, "difference": x - q}

    def types(**inputs: Any) -> dict[str, Any]:
        return {name.removeprefix("i"): tf.identity(value) for name, value in inputs.items()}

    def fails(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_less(x, 0.0, message="positive is not allowed")]):
            return {"y": tf.identity(x)}

    def slow(steps: Any) -> dict[str, Any]:
        # A matrix product a step: tens of microseconds, which nothing folds away.
        start = tf.eye(64) * 0.5
        product = tf.while_loop(
            lambda at, _: at < steps[0], lambda at, value: (at + 1, tf.linalg.matmul(value, value) + start), [0, start]
        )[1]
        return {"y": product[:1, 0]}

    module = tf.Module()
    floats = tf.TensorSpec([None], tf.float32, name="x")
    echoed = {f"i{name}": tf.TensorSpec([None], tf.as_dtype(name), name=f"i{name}") for name in ECHOED}
    module.bodies = {
        "serving_default": tf.function(half_plus_two).get_concrete_function(floats),
        "pair": tf.function(pair).get_concrete_function(floats, tf.TensorSpec([None], tf.float32, name="q")),
        "types": tf.function(types).get_concrete_function(**echoed),
        "scalar": tf.function(half_plus_two).get_concrete_function(tf.TensorSpec([], tf.float32, name="x")),
        "fails": tf.function(fails).get_concrete_function(floats),
        "slow": tf.function(slow).get_concrete_function(tf.TensorSpec([None], tf.int32, name="steps")),
    }
    tf.saved_model.save(module, str(folder), signatures=dict(module.bodies))


def save_numbers_model(folder: Path, version: int) -> None:
    """Write the model."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def embed(text: Any) -> dict[str, Any]:
        numbers = tf.strings.to_number(tf.strings.regex_replace(text, "x", ""))
        return {"embedding": tf.stack([tf.ones_like(numbers) * version, numbers], axis=1)}

    module = tf.Module()
    module.embed = embed
    tf.saved_model.save(module, str(folder), signatures={"embed": embed, "serving_default": embed})
