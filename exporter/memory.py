"""How much memory there is, and whether the proof of an export fits into it."""

import contextlib
import os
from pathlib import Path

from .errors import ConfigError
from .families.config import EncoderConfig

#: Texts or pairs of the full length that a call of the proof has (see :mod:`.proof.samples`), and copies of their
#: attention scores, in float32, that are alive at a time.
_TEXTS, _PAIRS, _COPIES = 6, 14, 2
#: Copies of one head's scores, in float64, that the reference has at a time.
_OF_REFERENCE = 4


def available() -> int | None:
    """Bytes that this process may still take; ``None`` where the system does not say."""
    found = list[int]()
    with contextlib.suppress(OSError, ValueError, StopIteration):
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
        found.append(int(line.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # of a container
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
    """Refuse lengths whose attention scores do not fit, and name one that does: they grow with its square.

    Args:
        encoder: shape of the encoder.
        length: most tokens of a text or pair.
        pair: whether these are pairs.

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
        f"for attention, and there are {free / 1e9:.1f}. --max-seq-length {fits} fits; longer texts are then cut at "
        f"{fits} tokens. (A server needs as much for a batch of such texts.)"
    )
