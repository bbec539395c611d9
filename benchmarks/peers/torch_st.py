"""sentence-transformers with PyTorch: ``SentenceTransformer.encode`` with its own defaults.

Whatever is more than a batch of 32 texts it sorts by length itself. bfloat16 is its own way of it: the model loaded
with that dtype (https://sbert.net/docs/sentence_transformer/usage/efficiency.html).
"""

from __future__ import annotations

import numpy as np

from .base import Setup

__all__ = ["Peer"]


class Peer:
    """See :class:`.base.Contestant`."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def prepare(self) -> None:
        """Nothing to make."""

    def load(self) -> None:
        """Load it."""
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(self._setup.threads)
        dtype = getattr(torch, self._setup.precision)
        self._model = SentenceTransformer(
            str(self._setup.source), device=self._setup.device, model_kwargs={"dtype": dtype}
        )
        self._model.max_seq_length = self._setup.max_tokens

    def embed(self, texts: list[str]) -> np.ndarray:
        """Float32 ``[B, H]``."""
        vectors = self._model.encode(
            texts, batch_size=self._setup.batch, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors.astype(np.float32, copy=False)

    def close(self) -> None:
        """Nothing to stop."""
