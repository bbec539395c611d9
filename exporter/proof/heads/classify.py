"""The logits of transformers' ``*ForSequenceClassification``, of one text or pair.

Written from transformers' modelling files: BERT and ALBERT classify their pooler's output, the others have a layer of
their own over the first token's vector. Dropout does nothing at inference.
"""

from collections.abc import Mapping

import numpy as np

from ..families.layers import Layers
from ..numerics import ACTIVATIONS

#: Of a family's own layer: its name, its activation, and the name of the layer that gives the logits.
_OWN = {
    "distilbert": ("pre_classifier", "relu", "classifier"),
    "electra": ("classifier.dense", "gelu", "classifier.out_proj"),
    "mpnet": ("classifier.dense", "tanh", "classifier.out_proj"),
    "roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
    "xlm-roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
    "camembert": ("classifier.dense", "tanh", "classifier.out_proj"),
}


def logits(outputs: Mapping[str, np.ndarray], family: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Logits, float64 ``[labels]``.

    Args:
        outputs: of the encoder, see :class:`..families.Twin`.
        family: a key of :data:`..families.TWINS`.
        tensors: those of the head by their names in PyTorch's form.
    """
    on = Layers(tensors, 0.0)
    if family in ("bert", "albert"):
        return on.linear(outputs["pooled_output"], "classifier")
    dense, activation, last = _OWN[family]
    return on.linear(ACTIVATIONS[activation](on.linear(outputs["sequence_output"][0], dense)), last)
