"""RoBERTa (Liu et al., 2019, https://arxiv.org/abs/1907.11692): BERT with positions that are counted from the id
of the padding token."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptSource
from . import bert
from .config import EncoderConfig
from .heads import HeadLayers
from .reading import positions_from_padding, read

NAMES = bert.NAMES
CLASSIFIER = HeadLayers("first", {"head/dense": "classifier.dense", "head/output": "classifier.out_proj"}, "tanh")
#: The id of ``<pad>`` if config.json does not state it.
_PADDING = 1


def read_config(config: Mapping[str, Any], path: Path, family: str = "roberta") -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`.

    Args:
        config: contents of config.json.
        path: its path, for errors.
        family: name of the family; others have the same architecture.
    """
    padding = config.get("pad_token_id", _PADDING)
    if not isinstance(padding, int) or isinstance(padding, bool) or padding < 0:
        raise CorruptSource(
            f"{path}: pad_token_id is {padding!r}; positions are counted from it: expected a token's id"
        )
    return read(config, path, family=family, **positions_from_padding(config, path, padding))
