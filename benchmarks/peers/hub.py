"""The model as a TF Hub text encoder: a folder from tf-models-official's Hub exporter, with the model's weights.

See tests/data/README.md. A test compares its outputs with PyTorch's.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from .base import Setup

__all__ = ["folder"]

_BUILDER = Path(__file__).parents[2] / "tests" / "data" / "hub_minilm.py"


def folder(setup: Setup) -> Path:
    """The Hub encoder's folder; built if it does not exist."""
    path = setup.work / "hub-encoder"
    if not (path / "variables" / "variables.index").is_file():
        spec = importlib.util.spec_from_file_location("hub_minilm", _BUILDER)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.build(setup.source, path)
    return path
