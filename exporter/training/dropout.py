"""Dropout of each family, from its config.json, applied as in transformers. (Except DeBERTa's dropout of distance
vectors.)"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CorruptSource


@dataclass(frozen=True)
class Dropout:
    """Dropout rates in training.

    Attributes:
        hidden: rate of embeddings.
        attended: rate of attention outputs.
        attention: rate of attention probabilities.
        head: rate before the head's last layer.
        head_input: rate of the head's input, if the head has a layer before its last.
        output: rate of feed-forward outputs; ``None``: as for embeddings.
        inner: rate of the input of the second part of a feed-forward layer.
    """

    hidden: float = 0.0
    attended: float = 0.0
    attention: float = 0.0
    head: float = 0.0
    head_input: float = 0.0
    output: float | None = None
    inner: float = 0.0


def read(config: Mapping[str, Any], family: str, path: Path, tags: bool = False) -> Dropout:
    """Dropout of a config.json, with transformers' defaults.

    Args:
        config: config.json.
        family: of the encoder.
        path: its place, for errors.
        tags: whether the head is that of a tagger, ``*ForTokenClassification``.

    Raises:
        CorruptSource: a value is not a probability.
    """

    def rate(key: str, default: float) -> float:
        value = config.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise CorruptSource(f"{path}: {key} is {value!r}, not a probability below 1")
        return float(value)

    if family == "distilbert":
        hidden, attention = rate("dropout", 0.1), rate("attention_dropout", 0.1)
        return Dropout(hidden, 0.0, attention, hidden if tags else rate("seq_classif_dropout", 0.2))
    if family == "albert":
        hidden, attention = rate("hidden_dropout_prob", 0.0), rate("attention_probs_dropout_prob", 0.0)
        return Dropout(hidden, hidden, attention, rate("classifier_dropout_prob", 0.1), output=0.0)
    if family == "modernbert":
        attention, head = rate("attention_dropout", 0.0), rate("classifier_dropout", 0.0)
        embeddings, inner = rate("embedding_dropout", 0.0), rate("mlp_dropout", 0.0)
        return Dropout(embeddings, attention, attention, head, output=0.0, inner=inner)
    usual = 0.0 if family == "nomic_bert" else 0.1
    hidden, attention = rate("hidden_dropout_prob", usual), rate("attention_probs_dropout_prob", usual)
    if family == "deberta-v2":
        head = hidden if tags else rate("cls_dropout", hidden)
        return Dropout(hidden, hidden, attention, head, 0.0 if tags else rate("pooler_dropout", 0.0))
    head = hidden if family == "mpnet" else rate("classifier_dropout", hidden)
    return Dropout(hidden, hidden, attention, head, 0.0 if tags or family in ("bert", "nomic_bert") else head)
