"""The reference's forward passes in numpy float64, and their table.

Each is written from the paper, with the checkpoint's own names, and shares no code with :mod:`...families` and
:mod:`...graph`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from . import albert, bert, deberta_v2, distilbert, modernbert, mpnet, nomic_bert, roberta


class Twin(Protocol):
    """The interface of the modules in this folder."""

    def first_row(self, config: Mapping[str, Any]) -> int:
        """Row of the position table for the first token."""

    def forward(
        self,
        tensors: Mapping[str, np.ndarray],
        config: Mapping[str, Any],
        ids: np.ndarray,
        types: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """The forward pass over one text or pair without padding.

        Args:
            tensors: tensors by the family's names in PyTorch's form, without a prefix; dense weights are ``[out, in]``.
            config: contents of config.json.
            ids: int ``[tokens]``.
            types: int ``[tokens]``, token types; 0 if left out.

        Returns:
            ``sequence_output`` float64 ``[tokens, hidden]`` and, with a pooler, ``pooled_output``
            ``[hidden]``.
        """


#: ``model_type`` of config.json -> module.
TWINS: Mapping[str, Twin] = {
    "bert": bert,
    "distilbert": distilbert,
    "electra": bert,
    "mpnet": mpnet,
    "roberta": roberta,
    "xlm-roberta": roberta,
    "camembert": roberta,
    "albert": albert,
    "modernbert": modernbert,
    "deberta-v2": deberta_v2,
    "nomic_bert": nomic_bert,
}


def name_of(config: Mapping[str, Any]) -> str:
    """The family of a config.json, by ``model_type``, or else by its class."""
    if (name := config.get("model_type")) is None:
        classes = [each.lower() for each in config.get("architectures") or ["BertModel"]]
        # The longest match, because DistilBertModel ends in BertModel.
        name = max((each for each in TWINS if classes[0].startswith(each.replace("-", ""))), key=len)
    return str(name)


def twin_of(config: Mapping[str, Any]) -> Twin:
    """The forward pass of the family of a config.json."""
    return TWINS[name_of(config)]
