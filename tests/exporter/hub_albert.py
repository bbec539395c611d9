"""The Hub ALBERT of tests/data, and what its own preprocessing model makes of texts."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from folders import DATA


def unpack(target: Path) -> Path:
    """A folder with ``encoder`` and ``preprocess``."""
    with tarfile.open(DATA / "hub_albert.tar.xz") as archive:
        archive.extractall(target, filter="data")
    return target


def preprocess_of(folder: Path) -> Any:
    """The preprocessing model."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    return tf.saved_model.load(str(folder / "preprocess"))


def ids_of(preprocess: Any, texts: Sequence[bytes]) -> list[list[int]]:
    """Its ids of each text, without special tokens and without a limit."""
    import tensorflow as tf

    return preprocess.tokenize(tf.constant(texts, tf.string)).to_list()


def packed(preprocess: Any, columns: Sequence[Sequence[bytes]], length: int) -> list[tuple[list[int], list[int]]]:
    """Its ids and types of texts or pairs, special tokens included, cut to a length."""
    import tensorflow as tf

    segments = [preprocess.tokenize(tf.constant(list(column), tf.string)) for column in columns]
    given = preprocess.bert_pack_inputs(segments, seq_length=tf.constant(length))
    names = ("input_word_ids", "input_type_ids", "input_mask")
    ids, types, mask = (np.asarray(given[name]) for name in names)
    return [
        (row[:count].tolist(), kind[:count].tolist()) for row, kind, count in zip(ids, types, mask.sum(1), strict=True)
    ]
