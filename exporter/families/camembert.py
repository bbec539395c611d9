"""CamemBERT (Martin et al., 2020, https://arxiv.org/abs/1911.03894): RoBERTa for French texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import roberta
from .config import EncoderConfig

NAMES = roberta.NAMES
CLASSIFIER = roberta.CLASSIFIER


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`."""
    return roberta.read_config(config, path, "camembert")
