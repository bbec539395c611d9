"""The logits of transformers' ``*ForSequenceClassification``, of one text or pair.

Written from transformers' modelling files: BERT and ALBERT classify their pooler's output; the others have a separate
layer over the first token's vector. Dropout has no effect at inference.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..families import name_of
from ..families.layers import Layers
from ..numerics import ACTIVATIONS

#: A family's separate layer: its name, its activation, and the name of the layer of the logits.
_OWN = {
    "distilbert": ("pre_classifier", "relu", "classifier"),
    "electra": ("classifier.dense", "gelu", "classifier.out_proj"),
    "mpnet": ("classifier.dense", "tanh", "classifier.out_proj"),
    "roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
    "xlm-roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
    "camembert": ("classifier.dense", "tanh", "classifier.out_proj"),
}


def logits(
    outputs: Mapping[str, np.ndarray], config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Logits, float64 ``[labels]``.

    Args:
        outputs: outputs of the encoder, see :class:`..families.Twin`.
        config: contents of config.json.
        tensors: tensors of the head by their PyTorch names.
    """
    on, family = Layers(tensors, config.get("norm_eps", 1e-5)), name_of(config)
    if family in ("albert", "bert", "nomic_bert"):
        return on.linear(outputs["pooled_output"], "classifier")
    vectors = outputs["sequence_output"]
    if family == "modernbert":
        pooled = vectors.mean(0) if config.get("classifier_pooling") == "mean" else vectors[0]
        return on.linear(prediction_head(on, config, pooled), "classifier")
    if family == "deberta-v2":
        activated = ACTIVATIONS[config.get("pooler_hidden_act", "gelu")]
        return on.linear(activated(on.linear(vectors[0], "pooler.dense")), "classifier")
    dense, activation, last = _OWN[family]
    return on.linear(ACTIVATIONS[activation](on.linear(vectors[0], dense)), last)


def prediction_head(on: Layers, config: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """The layers of ModernBERT's heads before the last one: ``[..., hidden]`` -> ``[..., hidden]``."""
    activated = ACTIVATIONS[config.get("classifier_activation", "gelu")]
    x = activated(on.linear(x, "head.dense", config.get("classifier_bias", False)))
    return on.norm(x, "head.norm", config.get("norm_bias", False))
