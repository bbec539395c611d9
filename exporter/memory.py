"""The available memory, and whether the proof of an export fits into it."""

import contextlib
import os
from pathlib import Path

from .errors import ConfigError
from .families.config import EncoderConfig

#: Number of texts or pairs of full length in a call of the proof (see :mod:`.proof.samples`), and number of float32
#: copies of their attention scores in memory at the same time.
_TEXTS, _PAIRS, _COPIES = 6, 14, 2
#: Number of float64 copies of one head's scores in the reference at the same time.
_OF_REFERENCE = 4


def available() -> int | None:
    """Bytes that this process may still allocate; ``None`` if the system does not report it."""
    found = list[int]()
    with contextlib.suppress(OSError, ValueError, StopIteration):
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
        found.append(int(line.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # limits of a container
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text())
        found.append(most - int((group / "memory.current").read_text()))
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            found.append(limit - taken)
    return min(found) if found else None


def require(encoder: EncoderConfig, length: int, pair: bool) -> None:
    """Refuse lengths whose attention scores do not fit into memory, and suggest one that does.

    The size of the scores grows with the square of the length.

    Args:
        encoder: shape of the encoder.
        length: maximum tokens of a text or pair.
        pair: whether the inputs are pairs.

    Raises:
        ConfigError: there is too little memory.
    """
    free = available()
    square = 4 * _COPIES * (_PAIRS if pair else _TEXTS) * encoder.num_heads + 8 * _OF_REFERENCE
    if free is None or square * length**2 <= free:
        return
    fits = 1 << int((free / square) ** 0.5).bit_length() - 1
    raise ConfigError(
        f"max_seq_length is {length}: the proof of texts of that length takes about {square * length**2 / 1e9:.1f} GB "
        f"for attention, but only {free / 1e9:.1f} GB are free. Use --max-seq-length {fits}: longer texts are then cut "
        f"at {fits} tokens. (A server needs as much for a batch of such texts.)"
    )
