"""Sources of checkpoints: one file a kind, each turning what it reads into a :class:`Checkpoint`.

A new kind of source (a remote handle, an archive, another file format) is a new file here that ends in a
local folder or in a :class:`Checkpoint`, and one more line in :func:`load`.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import SourceNotFound, UnsupportedModel
from . import hub, huggingface
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
    for kind in (hub, huggingface):
        if kind.is_folder(folder):
            return kind.read(folder)
    raise UnsupportedModel(
        f"{folder}: not a model that rawbert knows: neither config.json (Hugging Face), "
        "modules.json (sentence-transformers) nor saved_model.pb (TF Hub) is there"
    )
