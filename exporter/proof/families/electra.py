"""ELECTRA's forward pass (Clark et al., 2020, https://arxiv.org/abs/2003.10555): BERT's, over narrower embeddings."""

from __future__ import annotations

from .bert import FIRST_ROW, forward

__all__ = ["FIRST_ROW", "forward"]
