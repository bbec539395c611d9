"""The independent reference for the answers of an exported model.

No code here comes from the exporter's own tokenizer, encoder, head or sources. For Hugging Face folders
:mod:`.weights` reads the checkpoint's files by their own names, and :mod:`.families` computes the encoder in plain
numpy float64; for Hub encoders the Hub layer itself is called. Tokens come from the tokenizers that users load
(:mod:`.tokenizer_files`).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from ...serving.contract import EMBED, POOLED, SEQUENCE
from ..recipe import DEFAULT_TOKENIZATION, TokenizerOptions
from . import heads, labels, tokenizer_files, weights
from .families import twin_of
from .sentencepiece import SentencePieceReferenceTokenizer
from .settings import read as read_settings
from .tokens import reference_tokenizer

_POOLED, _SEQUENCE = POOLED.outputs[0].name, SEQUENCE.outputs[0].name


class HubReference:
    """The Hub layer itself.

    Args:
        handle: its folder, or an object that TensorFlow restored from one.
        max_seq_length: maximum length of texts.
        options: tokenizer options.

    Attributes:
        tokenize: see :mod:`.tokens`.
        rows: rows of its embedding table; ``None`` if unknown.
        max_seq_length: its own limit; ``None`` if it states none.
        settings: settings of the heads by output name; those of ``embed`` are the steps from tokens to a vector.
        labels: labels of a fine-tuned head; ``None`` without one.
    """

    def __init__(self, handle: Any, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION) -> None:
        import tensorflow_hub as hub

        self._layer = hub.KerasLayer(os.fspath(handle) if isinstance(handle, Path) else handle)
        encoder = self._layer.resolved_object
        stated = getattr(encoder, "do_lower_case", None)
        lowercase = None if stated is None else bool(np.asarray(stated))
        if hasattr(encoder, "vocab_file"):
            tokenizer = tokenizer_files.of_vocabulary(_path(encoder.vocab_file), lowercase)
            self.tokenize = reference_tokenizer(tokenizer, max_seq_length, options)
        else:
            model = _path(encoder.sp_model_file).read_bytes()
            self.tokenize = SentencePieceReferenceTokenizer(model, lowercase is not False, max_seq_length, options)
        # Before version 3 a Hub encoder took a list and returned a pair.
        form, _ = self._layer.resolved_object.__call__.concrete_functions[0].structured_input_signature
        self._takes_dict = isinstance(form[0], dict)
        self.rows, self.max_seq_length = (
            next((int(v.shape[0]) for v in getattr(encoder, "variables", ()) if v.name.endswith(table)), None)
            for table in ("word_embeddings/embeddings:0", "position_embedding/embeddings:0")
        )
        self.settings: dict[str, Any] = {}
        self.labels: labels.Labels | None = None

    def __call__(self, ids: list[int], types: list[int] | None = None) -> dict[str, np.ndarray]:
        """Outputs for the tokens of one text or pair, with their token types (0 if left out)."""
        rows = np.array([[ids, [1] * len(ids), types or [0] * len(ids)]], np.int32)
        if self._takes_dict:
            names = ("input_word_ids", "input_mask", "input_type_ids")
            answer = self._layer({name: rows[:, at] for at, name in enumerate(names)})
            pooled, sequence = answer["pooled_output"], answer["sequence_output"]
        else:
            pooled, sequence = self._layer([rows[:, at] for at in range(3)])
        outputs = {_POOLED: np.asarray(pooled, np.float64)[0], _SEQUENCE: np.asarray(sequence, np.float64)[0]}
        return heads.answers(outputs, self.settings)


class FolderReference:
    """A Hugging Face or sentence-transformers folder, computed in numpy float64; attributes as above."""

    def __init__(self, folder: Path, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION) -> None:
        settings = read_settings(folder)
        self.config, self.tensors = weights.load(settings.root)
        self._forward = twin_of(self.config).forward
        self.tokenize = reference_tokenizer(tokenizer_files.of_folder(settings), max_seq_length, options)
        self.rows = int(self.config["vocab_size"])
        limits = (
            settings.max_length,
            self.config["max_position_embeddings"] - twin_of(self.config).first_row(self.config),
        )
        self.max_seq_length = min(map(int, limits)) if settings.max_length else None
        self.settings: dict[str, Any] = {}
        self.labels: labels.Labels | None = None
        if settings.recipe:
            self.settings[EMBED.outputs[0].name] = settings.recipe
        else:
            self.labels = labels.read(self.config, self.tensors, settings.cross_encoder)
        if self.labels is not None:
            self.settings[self.labels.output] = (self.config, self.tensors)

    def __call__(self, ids: list[int], types: list[int] | None = None) -> dict[str, np.ndarray]:
        """Outputs for the tokens of one text or pair, with their token types (0 if left out)."""
        outputs = self._forward(self.tensors, self.config, np.array(ids), np.array(types) if types else None)
        return heads.answers(outputs, self.settings)


def _path(asset: Any) -> Path:
    return Path(asset.asset_path.numpy().decode())
