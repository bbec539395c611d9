"""A check, before the first step, whether a batch fits into memory."""

import numpy as np

from ..errors import ConfigError
from ..families.config import EncoderConfig, canonical_shapes
from ..memory import available

#: Number of values in memory per token and layer: of the layer's width, of the inner width, and of attention (per head
#: and token of the longest text). With these, the estimate for MiniLM is 3.0 GB for 32 rows of 128 tokens and 3.6 GB
#: for 16 rows of 256; the measured values are 2.7 and 3.0 GB.
_HIDDEN, _INNER, _ATTENTION = 24, 3, 4
#: Number of copies of the weights: values, two moments, gradients, and the prepared weights of a step.
_COPIES = 5
#: Memory of TensorFlow and of the tokenizer's tables.
_BASE = 600_000_000


def needed(config: EncoderConfig, lengths: np.ndarray, batch_size: int, frozen: bool) -> int:
    """Approximate memory of training in bytes: a step with the longest rows."""
    longest = np.sort(lengths)[-batch_size:].astype(np.int64)
    weights = sum(int(np.prod(shape)) for shape in canonical_shapes(config).values())
    each = _HIDDEN * config.hidden_size + _INNER * config.intermediate_size
    each += _ATTENTION * config.num_heads * int(longest.max())
    layers, copies = (1, 2) if frozen else (config.num_layers, _COPIES)
    return 4 * (layers * int(longest.sum()) * each + copies * weights)


def require(config: EncoderConfig, lengths: np.ndarray, batch_size: int, frozen: bool, vectors: int = 0) -> None:
    """Refuse a batch that does not fit into memory, and suggest a size that does.

    Args:
        config: configuration of the encoder.
        lengths: tokens of each row.
        batch_size: rows per step.
        frozen: whether only the head is trained.
        vectors: number of stored vectors of a frozen encoder.

    Raises:
        ConfigError: too little memory.
    """
    free = available()
    if free is not None:
        free -= 4 * vectors * config.hidden_size
    if free is None or _BASE + needed(config, lengths, batch_size, frozen) <= free:
        return
    fits = [size for size in range(1, batch_size) if _BASE + needed(config, lengths, size, frozen) <= free]
    wanted = (_BASE + needed(config, lengths, batch_size, frozen)) / 1e9
    what = (
        f"batches of {batch_size} rows of up to {int(lengths.max())} tokens take about {wanted:.1f} GB, but only "
        f"{free / 1e9:.1f} GB are free"
    )
    if not fits:
        raise ConfigError(f"{what}: not even one row fits; use a smaller encoder, --max-seq-length or --freeze-encoder")
    raise ConfigError(f"{what}: use --batch-size {max(fits)}, or a shorter --max-seq-length")
