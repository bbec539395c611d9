"""Sources other than local folders: each module makes one kind available in a local folder, as a :class:`Location`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Called with a line for people at the start of a slow step.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Location:
    """A local folder with a checkpoint.

    Attributes:
        folder: the folder, or the file of a single-file model.
        handle: the user's name for it; a URL or a handle if it was remote.
        origin: ``local``, ``archive``, ``huggingface``, ``tfhub`` or ``kaggle``.
        revision: the exact commit or version; ``None`` for sources without revisions.
        sha256: hash of the unpacked archive.
        cached: whether the folder belongs to a cache, which later runs use again.
    """

    folder: Path
    handle: str
    origin: str
    revision: str | None = None
    sha256: str | None = None
    cached: bool = False
