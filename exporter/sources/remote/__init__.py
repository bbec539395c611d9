"""Sources that are not local folders: each file brings one kind here, into a folder, and says what it brought."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Called with a line for people when something begins that takes time.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Location:
    """A local folder with a checkpoint in it.

    Attributes:
        folder: the folder, or the file of a model that is one file.
        handle: what the user named; a URL or a handle where it was remote.
        origin: ``local``, ``archive``, ``huggingface``, ``tfhub`` or ``kaggle``.
        revision: what exactly was taken: a commit, a version; ``None`` where there is no such thing.
        sha256: of the archive that the folder was unpacked from.
        cached: whether the folder belongs to a cache, which a later run would use again.
    """

    folder: Path
    handle: str
    origin: str
    revision: str | None = None
    sha256: str | None = None
    cached: bool = False
