"""RoBERTa (Liu et al., 2019, https://arxiv.org/abs/1907.11692): BERT, with positions counted from the padding's on."""

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
#: The id of ``<pad>`` where config.json does not say it.
_PADDING = 1


def read_config(config: Mapping[str, Any], path: Path, family: str = "roberta") -> EncoderConfig:
    """The configuration that a config.json states; see :class:`.Family`.

    Args:
        config: its content.
        path: where it is, for errors.
        family: of the same architecture, and with other weights.
    """
    padding = config.get("pad_token_id", _PADDING)
    if not isinstance(padding, int) or isinstance(padding, bool) or padding < 0:
        raise CorruptSource(
            f"{path}: pad_token_id is {padding!r}; positions are counted from it: expected a token's id"
        )
    return read(config, path, family=family, **positions_from_padding(config, path, padding))
