"""Floating-point operations of a BERT encoder (Kaplan et al., 2020, https://arxiv.org/abs/2001.08361, 2.1).

A product of ``[n, k]`` and ``[k, m]`` counts as ``2 n k m`` operations: multiplications and additions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["BASE", "LARGE", "MINILM", "Shape"]


@dataclass(frozen=True)
class Shape:
    """Dimensions of a BERT encoder: layers L, hidden H, heads A, intermediate I."""

    name: str
    layers: int
    hidden: int
    heads: int
    intermediate: int

    @property
    def dense(self) -> tuple[tuple[int, int], ...]:
        """``[k, m]`` of a layer's weight matrices: query, key and value concatenated; output; the two of the MLP."""
        h, i = self.hidden, self.intermediate
        return (h, 3 * h), (h, h), (h, i), (i, h)

    @property
    def dense_per_token(self) -> int:
        """Operations of the dense layers per token: ``L (2 H 3H + 2 H H + 2 H I + 2 I H) = L (8 H^2 + 4 H I)``."""
        return self.layers * sum(2 * k * m for k, m in self.dense)

    def attention(self, tokens: int) -> int:
        """Operations of attention for one text of T tokens: scores ``[T, T]`` and context, ``L * (2 T^2 H + 2 T^2 H)``.

        The heads share H among them, so their number does not matter.
        """
        return self.layers * 4 * tokens**2 * self.hidden

    def total(self, lengths: Iterable[int]) -> int:
        """Operations for texts with these numbers of tokens, without padding."""
        return sum(tokens * self.dense_per_token + self.attention(tokens) for tokens in lengths)


MINILM = Shape("MiniLM-L6", layers=6, hidden=384, heads=12, intermediate=1536)
BASE = Shape("BERT-base", layers=12, hidden=768, heads=12, intermediate=3072)
LARGE = Shape("BERT-large", layers=24, hidden=1024, heads=16, intermediate=4096)
