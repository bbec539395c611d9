"""A check, before the first step, whether a batch fits into memory."""

import numpy as np

from ..errors import ConfigError
from ..families.config import EncoderConfig, canonical_shapes
from ..memory import available

#: Values that a step keeps of a token in a layer: of the layer's width, of the inner width, and, for each head and
#: other token of the longest text, of attention. With these, MiniLM is estimated at 3.0 GB for 32 rows of 128 tokens
#: and 3.6 GB for 16 rows of 256, and was measured at 2.7 and 3.0 GB.
_HIDDEN, _INNER, _ATTENTION = 24, 3, 4
#: Copies of the weights: values, two moments, gradients, and what is made of the weights in a step.
_COPIES = 5
#: Of TensorFlow, and of the tokenizer's tables.
_BASE = 600_000_000


def needed(config: EncoderConfig, lengths: np.ndarray, batch_size: int, frozen: bool) -> int:
    """Bytes that training takes, about: those of a step with the longest rows."""
    longest = np.sort(lengths)[-batch_size:].astype(np.int64)
    weights = sum(int(np.prod(shape)) for shape in canonical_shapes(config).values())
    each = _HIDDEN * config.hidden_size + _INNER * config.intermediate_size
    each += _ATTENTION * config.num_heads * int(longest.max())
    layers, copies = (1, 2) if frozen else (config.num_layers, _COPIES)
    return 4 * (layers * int(longest.sum()) * each + copies * weights)


def require(config: EncoderConfig, lengths: np.ndarray, batch_size: int, frozen: bool, vectors: int = 0) -> None:
    """Refuse a batch that does not fit into memory, and suggest a size that does.

    Args:
        config: of the encoder.
        lengths: tokens of each row.
        batch_size: rows of a step.
        frozen: whether the head alone is trained.
        vectors: those of a frozen encoder that are kept.

    Raises:
        ConfigError: there is too little memory.
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
