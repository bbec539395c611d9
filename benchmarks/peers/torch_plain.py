"""transformers' PyTorch model with scaled dot-product attention, padded to the longest text; eager and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Contestant, in_sorted_batches, tokenizer, torch_dtype

__all__ = ["Compiled", "Peer"]


class Peer(Contestant):
    """See :class:`.base.Contestant`."""

    def load(self) -> None:
        """Load it."""
        from transformers import AutoModel

        dtype = torch_dtype(self._setup)
        model = AutoModel.from_pretrained(str(self._setup.source), attn_implementation="sdpa", dtype=dtype)
        self._model = self._made(model.to(self._setup.device).eval())
        self._tokenizer = tokenizer(self._setup)

    def _made(self, model: Any) -> Any:
        return model

    def embed(self, texts: list[str]) -> np.ndarray:
        """Float32 ``[B, H]``."""
        return in_sorted_batches(self._run, texts, self._setup.batch)

    def _run(self, texts: list[str]) -> np.ndarray:
        import torch

        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._setup.max_tokens, return_tensors="pt"
        ).to(self._setup.device)
        with torch.inference_mode():
            sequence = self._model(**tokens).last_hidden_state.float()  # [B, T, H]
            weights = tokens["attention_mask"].unsqueeze(-1).float()  # [B, T, 1]
            mean = (sequence * weights).sum(1) / weights.sum(1)
            result: np.ndarray = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return result

    def close(self) -> None:
        """Free the model."""
        del self._model


class Compiled(Peer):
    """The same model after ``torch.compile`` for shapes of any size."""

    def _made(self, model: Any) -> Any:
        import torch

        return torch.compile(model, dynamic=True)
