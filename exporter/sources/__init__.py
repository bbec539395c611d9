"""Sources of checkpoints: one file a kind, each turning what it reads into a :class:`Checkpoint`.

A new kind of source (a remote handle, an archive, another file format) is a new file here that ends in a
local folder or in a :class:`Checkpoint`, and one more line in :func:`load`.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import CorruptSource, SourceNotFound, UnsupportedModel
from . import google, hub, huggingface
from .checkpoint import Checkpoint

__all__ = ["Checkpoint", "load", "locate"]


def locate(encoder: str | os.PathLike[str]) -> Path:
    """The local folder that ``encoder`` names.

    Raises:
        SourceNotFound: there is no such folder.
    """
    folder = Path(encoder).expanduser().absolute()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise SourceNotFound(f"{folder}: a file, not a folder; name the folder that holds the checkpoint")
    raise SourceNotFound(f"{folder}: no such folder; name the local folder of a checkpoint")


def load(encoder: str | os.PathLike[str]) -> Checkpoint:
    """Read the checkpoint that ``encoder`` names.

    Raises:
        SourceError: it is not there, or cannot be used; see :mod:`rawbert.exporter.errors`.
    """
    folder = locate(encoder)
    try:
        for kind in (hub, google, huggingface):
            if kind.is_folder(folder):
                return kind.read(folder)
    except OSError as error:
        raise CorruptSource(
            f"{error.filename or folder}: expected to read it, found that it cannot be read: {error.strerror or error}"
        ) from error
    raise UnsupportedModel(
        f"{folder}: not a model that rawbert knows: expected config.json (Hugging Face), modules.json "
        "(sentence-transformers), saved_model.pb (TF Hub) or bert_config.json (Google's checkpoints), "
        f"found {_listed(folder)}"
    )


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "") if names else "an empty folder"
