"""transformers' heads on an encoder: their input, and their dense layers.

Canonical weight names, as those of :mod:`.config`::

    head/dense/{kernel,bias}         [hidden, hidden], where the family has such a layer
    head/layer_norm/{gamma,beta}     [hidden], where the family normalises after it
    head/output/{kernel,bias}        [hidden, labels]
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class HeadLayers:
    """The layers of a head.

    Attributes:
        takes: ``pooled`` (the pooler's output), ``first`` (the vector of the first token), ``mean`` (of all tokens) or
            ``tokens`` (all of them).
        names: canonical stem -> stem in PyTorch's form, in the order of the layers.
        activation: activation after ``head/dense``.
        epsilon: epsilon of ``head/layer_norm``.
        unbiased: stems of layers without a bias.
    """

    takes: str
    names: Mapping[str, str]
    activation: str = "identity"
    epsilon: float = 1e-5
    unbiased: tuple[str, ...] = ()

    def leaves(self, stem: str) -> tuple[str, ...]:
        """Names of the weights of a layer."""
        leaves = ("gamma", "beta") if stem.endswith("layer_norm") else ("kernel", "bias")
        return leaves[:1] if stem in self.unbiased else leaves


#: ``*ForTokenClassification`` of every family.
TAGGER = HeadLayers("tokens", {"head/output": "classifier"})
