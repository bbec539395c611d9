"""Families of encoders, one module per architecture, and their table.

A family's module reads its config.json and names its weights; the graph (:mod:`..graph.encoder`) is built from the
resulting :class:`EncoderConfig`. Its twin in :mod:`..proof.families` computes the same in numpy and shares no code with
it. A new family needs a module here, a twin there, and a line in each table.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from ..errors import UnsupportedModel
from . import (
    albert,
    bert,
    camembert,
    deberta_v2,
    distilbert,
    electra,
    modernbert,
    mpnet,
    nomic_bert,
    roberta,
    xlm_roberta,
)
from .config import EncoderConfig
from .heads import TAGGER, HeadLayers
from .names import OBJECT_BASED, TF_MODELS, Naming, Style


class Family(Protocol):
    """The interface of a family's module."""

    #: Canonical stem -> stem in PyTorch's form, see :mod:`.names`.
    NAMES: dict[str, str]
    #: Layers of ``*ForSequenceClassification``.
    CLASSIFIER: HeadLayers

    def read_config(self, config: Mapping[str, Any], path: Path) -> EncoderConfig:
        """See :func:`read_config`. The weights decide about ``has_pooler``."""


#: ``model_type`` of config.json -> module.
FAMILIES: Mapping[str, Family] = {
    "bert": bert,
    "distilbert": distilbert,
    "electra": electra,
    "mpnet": mpnet,
    "roberta": roberta,
    "xlm-roberta": xlm_roberta,
    "camembert": camembert,
    "albert": albert,
    "modernbert": modernbert,
    "deberta-v2": deberta_v2,
    "nomic_bert": nomic_bert,
}
#: Families whose heads depend on config.json -> function that reads the head's layers.
_HEADS = {"deberta-v2": deberta_v2.read_head, "modernbert": modernbert.read_head}


def read_config(config: Mapping[str, Any], path: Path) -> EncoderConfig:
    """The configuration in a config.json, read by its family's module.

    Raises:
        UnsupportedModel: an unknown family, or a setting of another architecture.
        CorruptSource: values are missing, or contradict each other.
    """
    architectures = config.get("architectures")
    classes = [str(name) for name in architectures] if isinstance(architectures, list) else []
    family = config.get("model_type")
    if family is None:  # config.json of the first releases does not have it
        names = [re.sub(r"(Model|For[A-Z]\w*)$", "", each).lower() for each in classes]  # DistilBertForMaskedLM
        family = next((name for name in FAMILIES if name.replace("-", "") in names), None)
    if not isinstance(family, str) or family not in FAMILIES:
        named = ", ".join(classes) or "not named"
        raise UnsupportedModel(
            f"{path}: the encoder family is {family!r} (model_type; architectures: {named}); "
            f"{', '.join(FAMILIES)} can be exported"
        )
    return FAMILIES[family].read_config(config, path)


def needs_code(config: Mapping[str, Any]) -> bool:
    """Whether a config.json names unknown code (``auto_map``)."""
    named = config.get("auto_map")
    if not named or config.get("model_type") != "nomic_bert" or not isinstance(named, dict):
        return bool(named)
    return not all(isinstance(each, str) and each.startswith(nomic_bert.CODE) for each in named.values())


def naming_of(family: str, style: Style) -> Naming:
    """The names of a family's weights in a format."""
    return TF_MODELS if style is OBJECT_BASED else Naming(FAMILIES[family].NAMES, style)


def head_of(
    family: str, task: str, config: Mapping[str, Any] = MappingProxyType({}), path: Path = Path("config.json")
) -> HeadLayers:
    """The layers of a family's ``*ForSequenceClassification`` or ``*ForTokenClassification``.

    Args:
        family: a key of :data:`FAMILIES`.
        task: the end of the class's name.
        config: contents of config.json.
        path: its path, for errors.

    Raises:
        UnsupportedModel, CorruptSource: a setting of the head is unknown or invalid.
    """
    if family in _HEADS:
        return _HEADS[family](task, config, path)
    return TAGGER if task == "TokenClassification" else FAMILIES[family].CLASSIFIER
