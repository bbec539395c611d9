"""XLM-RoBERTa (Conneau et al., 2020, https://arxiv.org/abs/1911.02116): RoBERTa for 100 languages.

The encoders of multilingual-e5-base, multilingual-e5-large, bge-m3 and the bge-rerankers belong to this family.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import roberta
from .config import EncoderConfig

NAMES = roberta.NAMES
CLASSIFIER = roberta.CLASSIFIER


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    return roberta.read_config(config, path, "xlm-roberta")
