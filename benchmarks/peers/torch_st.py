"""sentence-transformers with PyTorch: ``SentenceTransformer.encode`` with its own defaults.

It sorts more than 32 texts, its batch size, by length. For bfloat16 the model is loaded with that dtype, as in its
documentation (https://sbert.net/docs/sentence_transformer/usage/efficiency.html).
"""

from __future__ import annotations

import numpy as np

from .base import Contestant, torch_dtype

__all__ = ["Peer"]


class Peer(Contestant):
    """See :class:`.base.Contestant`."""

    def load(self) -> None:
        """Load it."""
        from sentence_transformers import SentenceTransformer

        dtype = torch_dtype(self._setup)
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
