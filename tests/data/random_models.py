"""Random weights and token ids from a seed, with numpy only: tests generate the same inputs that PyTorch had."""

import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

#: Numbers of tokens of every model's texts, up to its number of positions.
LENGTHS = (1, 2, 3, 4, 5, 7, 9, 11, 14, 17, 23, 31, 40, 64)


def tensors(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, np.ndarray]:
    """A float32 tensor for each name: none is zero or the identity, and attention is not uniform."""
    made = {}
    for name, shape in shapes.items():
        noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).normal(size=shape)
        if re.search(r"norm\w*\.weight$", name, re.IGNORECASE):
            noise = 1 + 0.2 * noise
        elif len(shape) == 1:
            noise *= 0.1
        elif "embeddings" in name:
            noise *= 0.5
        elif re.search("query|key|qkv|q_proj|k_proj", name, re.IGNORECASE):
            noise *= 1.5 / np.sqrt(shape[1])
        else:
            noise /= np.sqrt(np.prod(shape[1:]))
        made[name] = noise.astype(np.float32)
    return made


def texts(vocab_size: int, positions: int, seed: int) -> list[np.ndarray]:
    """Token ids, int32 ``[tokens]``, of a text of each length."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocab_size, length, dtype=np.int32) for length in LENGTHS if length <= positions]


def types(ids: np.ndarray, type_vocab_size: int) -> np.ndarray:
    """Token types of a text, int32 ``[tokens]``: its second half is a second text, if the model has token types."""
    return (np.arange(len(ids)) >= (len(ids) + 1) // 2).astype(np.int32) * (type_vocab_size > 1)
