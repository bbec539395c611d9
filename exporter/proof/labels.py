"""The labels and the activation of a fine-tuned model, read a second time for :mod:`.reference`.

No code here comes from :mod:`..sources`. The rules are those of transformers' pipelines, and for cross-encoders of
sentence-transformers' ``CrossEncoder.predict``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

#: End of a class name -> output of its head; for a classifier with one label see :func:`read`.
_TASKS = {"ForSequenceClassification": "scores", "ForTokenClassification": "tag_scores"}


class Labels(NamedTuple):
    """The labels of a model.

    Attributes:
        output: the output with the scores: ``scores``, ``tag_scores`` or ``score``.
        names: names of the labels.
        activation: ``softmax``, ``sigmoid`` or ``identity``.
        largest: the largest absolute logit of all samples.
    """

    output: str
    names: tuple[str, ...]
    activation: str
    largest: float = 1.0


def read(
    config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], cross_encoder: Mapping[str, Any] | None
) -> Labels | None:
    """The labels in config.json; ``None`` if its class has no fine-tuned head.

    Args:
        config: contents of config.json.
        tensors: tensors by name; those of the head are ``classifier.*``.
        cross_encoder: config_sentence_transformers.json of a cross-encoder with modules.json.

    Raises:
        ValueError: an unknown setting.
    """
    first = (config.get("architectures") or [""])[0]
    output = next((output for end, output in _TASKS.items() if first.endswith(end)), None)
    if output is None:
        return None
    last = "classifier.out_proj.weight" if "classifier.out_proj.weight" in tensors else "classifier.weight"
    count = len(tensors[last])
    names = [f"LABEL_{at}" for at in range(count)]
    for key, name in (config.get("id2label") or {}).items():
        names[int(key)] = str(name)
    if output == "tag_scores":
        return Labels(output, tuple(names), "softmax")
    problem = config.get("problem_type")
    if problem not in (None, "regression", "multi_label_classification", "single_label_classification"):
        raise ValueError(f"unknown problem_type {problem!r}")
    activation = _of_cross_encoder(config, cross_encoder, count)
    if activation is None:
        is_sigmoid = count == 1 or problem == "multi_label_classification"
        activation = "identity" if problem == "regression" else "sigmoid" if is_sigmoid else "softmax"
    if count == 1 and problem != "multi_label_classification":
        output = "score"
    return Labels(output, tuple(names), activation)


def _of_cross_encoder(config: Mapping[str, Any], settings: Mapping[str, Any] | None, count: int) -> str | None:
    """The activation of ``CrossEncoder``; ``None`` for other models."""
    old, added = "sbert_ce_default_activation_function", config.get("sentence_transformers")
    if settings is None and added is None and old not in config:
        return None
    in_config = (added or {}).get("activation_fn", config.get(old))
    for path in ((settings or {}).get("activation_fn"), in_config):
        if str(path).startswith("torch."):  # no other class is run
            name = str(path).split(".")[-1].lower()
            if name not in ("identity", "sigmoid", "softmax"):
                raise ValueError(f"unknown activation {path}")
            return name
    return "sigmoid" if count == 1 else "identity"
