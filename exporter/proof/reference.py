"""What an exported model must answer: an independent second opinion.

Nothing here comes from the exporter's own tokenizer, encoder, head or sources. For Hugging Face folders
:mod:`.weights` reads the checkpoint's files by their own names, and :mod:`.families` computes the encoder in plain
numpy float64; Hub encoders answer by the Hub layer itself. Tokens come from the tokenizers that users load
(:mod:`.tokenizer_files`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ...serving.contract import EMBED, POOLED, SEQUENCE
from ..recipe import DEFAULT_TOKENIZATION, TokenizerOptions
from . import heads, tokenizer_files, weights
from .families import twin_of
from .settings import read as read_settings
from .tokens import reference_tokenizer

_EMBEDDING, _POOLED, _SEQUENCE = (each.outputs[0].name for each in (EMBED, POOLED, SEQUENCE))


class HubReference:
    """The Hub layer itself.

    Attributes:
        tokenize: see :mod:`.tokens`.
        rows: of its embedding table; ``None`` where they cannot be seen.
        max_seq_length: the limit of its own; ``None`` where it says none.
    """

    def __init__(self, folder: Path, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION) -> None:
        import tensorflow_hub as hub

        self._layer = hub.KerasLayer(os.fspath(folder))
        encoder = self._layer.resolved_object
        stated = getattr(encoder, "do_lower_case", None)
        lowercase = None if stated is None else bool(np.asarray(stated))
        tokenizer = tokenizer_files.of_vocabulary(Path(encoder.vocab_file.asset_path.numpy().decode()), lowercase)
        self.tokenize = reference_tokenizer(tokenizer, max_seq_length, options)
        # Before version 3 a Hub encoder took a list and returned a pair.
        form, _ = self._layer.resolved_object.__call__.concrete_functions[0].structured_input_signature
        self._takes_dict = isinstance(form[0], dict)
        self.rows, self.max_seq_length = (
            next((int(v.shape[0]) for v in getattr(encoder, "variables", ()) if v.name.endswith(table)), None)
            for table in ("word_embeddings/embeddings:0", "position_embedding/embeddings:0")
        )
        self._heads: dict[str, Any] = {}

    def use_pooling(self, modes: tuple[str, ...] | None, normalize: bool) -> None:
        """Answer ``embed`` too, by these pooling modes."""
        self._heads[_EMBEDDING] = [modes, *(["normalize"] if normalize else [])]

    def __call__(self, ids: list[int], types: list[int] | None = None) -> dict[str, np.ndarray]:
        """Outputs for the tokens of one text or pair, and their types, 0 if left out."""
        word_ids = np.array([ids], np.int32)
        inputs = {
            "input_word_ids": word_ids,
            "input_mask": np.ones_like(word_ids),
            "input_type_ids": np.array([types], np.int32) if types else np.zeros_like(word_ids),
        }
        if self._takes_dict:
            answer = self._layer(inputs)
        else:
            answer = dict(zip(("pooled_output", "sequence_output"), self._layer(list(inputs.values())), strict=True))
        outputs = {
            _SEQUENCE: np.asarray(answer["sequence_output"], np.float64)[0],
            _POOLED: np.asarray(answer["pooled_output"], np.float64)[0],
        }
        return heads.answers(outputs, self._heads)


class FolderReference:
    """A Hugging Face or sentence-transformers folder, computed in numpy float64; attributes as above."""

    def __init__(self, folder: Path, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION) -> None:
        settings = read_settings(folder)
        self.config, self.tensors = weights.load(settings.root)
        self._forward = twin_of(self.config).forward
        self.tokenize = reference_tokenizer(tokenizer_files.of_folder(settings), max_seq_length, options)
        self.rows = int(self.config["vocab_size"])
        limits = (settings.max_length, self.config["max_position_embeddings"] - twin_of(self.config).FIRST_ROW)
        self.max_seq_length = min(map(int, limits)) if settings.max_length else None
        self._heads: dict[str, Any] = {_EMBEDDING: settings.recipe} if settings.recipe else {}

    def use_pooling(self, modes: tuple[str, ...] | None, normalize: bool) -> None:
        """Answer ``embed`` by these pooling modes, or by the folder's own, without the folder's other steps."""
        own = self._heads.get(_EMBEDDING, [None])[0]
        self._heads[_EMBEDDING] = [modes or own, *(["normalize"] if normalize else [])]

    def __call__(self, ids: list[int], types: list[int] | None = None) -> dict[str, np.ndarray]:
        """Outputs for the tokens of one text or pair, and their types, 0 if left out."""
        outputs = self._forward(self.tensors, self.config, np.array(ids), np.array(types) if types else None)
        return heads.answers(outputs, self._heads)
