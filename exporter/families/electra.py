"""ELECTRA's discriminator (Clark et al., 2020, https://arxiv.org/abs/2003.10555): BERT, with embeddings that may be
narrower than the layers and are projected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import bert
from .config import EncoderConfig
from .heads import HeadLayers
from .reading import read, size

NAMES = bert.NAMES
# The head always uses the exact GELU; it ignores hidden_act.
CLASSIFIER = HeadLayers("first", {"head/dense": "classifier.dense", "head/output": "classifier.out_proj"}, "gelu")


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    width = size(config, "embedding_size", path)
    return read(config, path, family="electra", embedding_size=None if width == config.get("hidden_size") else width)
