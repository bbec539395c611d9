"""Tokenized rows, and batches of rows of similar length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Batches whose rows are sorted by length together: more are less random, fewer leave more unequal lengths.
_POOL = 32
#: Texts that are tokenized at once.
_AT_ONCE = 512


@dataclass(frozen=True)
class Tokens:
    """Token ids and types of rows, without padding.

    Attributes:
        ids, types: int32 of each row; ``types`` is ``None`` for single texts.
        lengths: int32 ``[rows]``.
        cut: rows that were longer than the model takes.
    """

    ids: tuple[np.ndarray, ...]
    types: tuple[np.ndarray, ...] | None
    lengths: np.ndarray
    cut: int

    def padded(self, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, mask and types int32 ``[rows, tokens]`` of some rows, padded to the longest."""
        width = int(self.lengths[rows].max())
        ids, mask, types = (np.zeros((len(rows), width), np.int32) for _ in range(3))
        for at, row in enumerate(rows):
            length = self.lengths[row]
            ids[at, :length], mask[at, :length] = self.ids[row], 1
            if self.types is not None:
                types[at, :length] = self.types[row]
        return ids, mask, types


def tokenize(tokenizer: Any, texts: Sequence[tuple[str, ...]]) -> Tokens:
    """Tokenize rows with the tokenizer graph that will be served."""
    import tensorflow as tf

    graph = tf.function(
        lambda *columns: tokenizer(*columns),
        autograph=False,
        input_signature=[tf.TensorSpec([None], tf.string)] * len(texts[0]),
    )
    ids, types, cut = list[np.ndarray](), list[np.ndarray](), 0
    for start in range(0, len(texts), _AT_ONCE):
        part = texts[start : start + _AT_ONCE]
        found = graph(*(tf.constant([row[column].encode() for row in part]) for column in range(len(part[0]))))
        lengths = found.input_mask.numpy().sum(1)
        cut += int((found.token_count.numpy() > lengths).sum())
        rows = list(zip(found.input_word_ids.numpy(), lengths, strict=True))
        ids += [row[:length].copy() for row, length in rows]
        if found.input_type_ids is not None:
            types += [row[:length].copy() for row, length in zip(found.input_type_ids.numpy(), lengths, strict=True)]
    return Tokens(tuple(ids), tuple(types) if types else None, np.array([len(row) for row in ids], np.int32), cut)


def epoch(lengths: np.ndarray, size: int, seed: int, number: int) -> list[np.ndarray]:
    """The batches of an epoch: rows in random order, those of a batch of similar length.

    Args:
        lengths: tokens of each row.
        size: rows of a batch.
        seed: of the run.
        number: of the epoch; the same number gives the same batches.

    Returns:
        The rows of each batch.
    """
    rng = np.random.default_rng([seed, 2, number])
    order = rng.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), size * _POOL):
        pool = order[start : start + size * _POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[at : at + size] for at in range(0, len(pool), size)]
    return [batches[at] for at in rng.permutation(len(batches))]


def in_order(lengths: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The rows by length, in batches: for what is only measured."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]
