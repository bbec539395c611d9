"""rawbert's exporter: a BERT checkpoint goes in, a SavedModel that takes plain strings comes out.

>>> from rawbert.exporter import ExportConfig, export
>>> bundle = export(ExportConfig(encoder="all-MiniLM-L6-v2", output="models/minilm"))  # doctest: +SKIP

The import does not load TensorFlow; :func:`export` does, and needs the ``export`` extra.
"""

from . import errors
from .errors import *  # noqa: F403
from .export import export
from .publish.bundle import Bundle
from .recipe import ExportConfig
from .training.config import FinetuneConfig
from .training.finetune import Run, finetune

__all__ = ["Bundle", "ExportConfig", "FinetuneConfig", "Run", "export", "finetune"]
__all__ += errors.__all__
