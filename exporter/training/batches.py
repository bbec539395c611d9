"""Tokenized rows, and batches of rows of similar length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Number of batches whose rows are sorted by length together: more are less random, fewer have less equal lengths.
_POOL = 32
#: Number of texts tokenized at once.
_AT_ONCE = 512


@dataclass(frozen=True)
class Tokens:
    """Token ids and types of rows, without padding.

    Attributes:
        ids, types: int32 of each row; ``types`` is ``None`` for single texts.
        lengths: int32 ``[rows]``.
        cut: bool ``[rows]``, whether a row was too long for the model.
        starts, limits: int32 of each row, the first byte of each token in its text and the byte after its last, -1 at
            special tokens; ``None`` if not requested.
    """

    ids: tuple[np.ndarray, ...]
    types: tuple[np.ndarray, ...] | None
    lengths: np.ndarray
    cut: np.ndarray
    starts: tuple[np.ndarray, ...] | None = None
    limits: tuple[np.ndarray, ...] | None = None

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


def graph_of(tokenizer: Any, columns: int = 1) -> Any:
    """A tokenizer as a graph over one or two columns of strings ``[rows]``."""
    import tensorflow as tf

    signature = [tf.TensorSpec([None], tf.string)] * columns
    return tf.function(lambda *texts: tokenizer(*texts), autograph=False, input_signature=signature)


def tokenize(graph: Any, texts: Sequence[tuple[str | bytes, ...]], offsets: bool = False) -> Tokens:
    """Tokenize rows with the tokenizer of the served model; ``offsets``: with byte offsets of the tokens."""
    import tensorflow as tf

    made: dict[str, list[np.ndarray]] = {}
    all_lengths, cut = list[np.ndarray](), list[np.ndarray]()
    for start in range(0, len(texts), _AT_ONCE):
        part = texts[start : start + _AT_ONCE]
        found = graph(*(tf.constant([_encoded(row[column]) for row in part]) for column in range(len(part[0]))))
        lengths = found.input_mask.numpy().sum(1).astype(np.int32)
        all_lengths.append(lengths)
        cut.append(found.token_count.numpy() > lengths)
        columns = {"ids": found.input_word_ids, "types": found.input_type_ids}
        if offsets:
            columns |= {"starts": found.start_offsets, "limits": found.limit_offsets}
        for name, column in columns.items():
            if column is not None:
                rows = zip(column.numpy(), lengths, strict=True)
                made.setdefault(name, []).extend(row[:length].copy() for row, length in rows)
    return Tokens(
        ids=tuple(made["ids"]),
        types=tuple(made["types"]) if "types" in made else None,
        lengths=np.concatenate(all_lengths),
        cut=np.concatenate(cut),
        starts=tuple(made["starts"]) if offsets else None,
        limits=tuple(made["limits"]) if offsets else None,
    )


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def epoch(lengths: np.ndarray, size: int, seed: int, number: int) -> list[np.ndarray]:
    """The batches of an epoch: rows in random order, with similar lengths within a batch.

    Args:
        lengths: tokens of each row.
        size: rows per batch.
        seed: seed of the run.
        number: number of the epoch; the same number gives the same batches.

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
    """The rows in batches, sorted by length: for evaluation."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]
