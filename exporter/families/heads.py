"""Heads that transformers puts on an encoder: which vector they take, and their dense layers.

Canonical weight names, as those of :mod:`.config`::

    head/dense/{kernel,bias}     [hidden, hidden], where the family has such a layer
    head/output/{kernel,bias}    [hidden, labels]
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class HeadLayers:
    """The layers of a head.

    Attributes:
        takes: ``pooled`` (the pooler's output), ``first`` (the vector of the first token) or ``tokens`` (all of them).
        names: canonical stem -> stem in PyTorch's form, in the order in which the layers are applied.
        activation: after ``head/dense``.
    """

    takes: str
    names: Mapping[str, str]
    activation: str = "identity"


#: ``*ForTokenClassification`` of every family.
TAGGER = HeadLayers("tokens", {"head/output": "classifier"})
