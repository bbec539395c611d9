"""The checkpoint as an ONNX file, pooling included, written by torch.onnx."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .base import Setup

__all__ = ["INPUTS", "exported", "feeds"]

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def exported(setup: Setup) -> Path:
    """The checkpoint's ONNX file, written if it does not exist: :data:`INPUTS`, int64 ``[B, T]``, -> ``[B, H]``."""
    path = setup.work / "onnx" / "model.onnx"
    if path.is_file():
        return path
    import torch
    from transformers import AutoModel

    class Embedder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # Eager attention: the pattern that the fusions of ONNX Runtime look for.
            self.bert = AutoModel.from_pretrained(str(setup.source), attn_implementation="eager").eval()

        def forward(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
        ) -> torch.Tensor:
            sequence = self.bert(input_ids, attention_mask, token_type_ids).last_hidden_state  # [B, T, H]
            weights = attention_mask.unsqueeze(-1).to(sequence.dtype)  # [B, T, 1]
            mean = (sequence * weights).sum(1) / weights.sum(1)
            return mean / mean.norm(dim=1, keepdim=True)

    ids = torch.tensor([[101, 2023, 2003, 102], [101, 2023, 102, 0]])
    mask = (ids > 0).long()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with torch.inference_mode():
        torch.onnx.export(
            Embedder(),
            (ids, mask, torch.zeros_like(ids)),
            str(partial),
            input_names=list(INPUTS),
            output_names=["embedding"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in INPUTS} | {"embedding": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    os.replace(partial, path)
    return path


def feeds(tokenizer: object, texts: list[str], max_tokens: int) -> dict[str, np.ndarray]:
    """The inputs of the file, padded to the longest text: int64 ``[B, T]``."""
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="np")  # type: ignore[operator]
    return {name: tokens[name].astype(np.int64, copy=False) for name in INPUTS}
