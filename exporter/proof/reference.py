"""What an exported model must answer: an independent second opinion.

Nothing here comes from the exporter's own tokenizer, encoder, head or sources. For Hugging Face folders
:mod:`.weights` reads the checkpoint's files by their own names, and :mod:`.families` computes the encoder in plain
numpy float64; Hub encoders answer by the Hub layer itself. Tokens come from transformers' tokenizers.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..recipe import DEFAULT_TOKENIZATION, TokenizerOptions
from . import heads, weights
from .families import twin_of
from .tokens import reference_tokenizer

__all__ = ["FolderReference", "HubReference"]


class HubReference:
    """The Hub layer itself.

    Attributes:
        tokenize: see :mod:`.tokens`.
        rows: of its embedding table; ``None`` where they cannot be seen.
        max_seq_length: the limit of its own; ``None`` where it says none.
    """

    def __init__(self, folder: Path, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION) -> None:
        import tensorflow_hub as hub
        from transformers import BertTokenizer

        self._layer = hub.KerasLayer(os.fspath(folder))
        encoder = self._layer.resolved_object
        vocab = encoder.vocab_file.asset_path.numpy().decode()
        tokenizer = BertTokenizer(vocab=vocab, do_lower_case=bool(encoder.do_lower_case.numpy()))
        self.tokenize = reference_tokenizer(tokenizer, max_seq_length, options)
        # Before version 3 a Hub encoder took a list and returned a pair.
        form, _ = self._layer.resolved_object.__call__.concrete_functions[0].structured_input_signature
        self._takes_dict = isinstance(form[0], dict)
        self.rows, self.max_seq_length = (
            next((int(v.shape[0]) for v in getattr(encoder, "variables", ()) if v.name.endswith(table)), None)
            for table in ("word_embeddings/embeddings:0", "position_embedding/embeddings:0")
        )
        self._heads: dict[str, Any] = {}

    def use_pooling(self, modes: list[str], normalize: bool) -> None:
        """Answer ``embedding`` too, by these pooling modes."""
        self._heads["embedding"] = [tuple(modes), *(["normalize"] if normalize else [])]

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
        outputs = {name: np.asarray(answer[name], np.float64)[0] for name in ("sequence_output", "pooled_output")}
        return heads.answers(outputs, self._heads)


class FolderReference:
    """A Hugging Face or sentence-transformers folder, computed in numpy float64; attributes as above."""

    def __init__(self, folder: Path, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION) -> None:
        from tokenizers.normalizers import Lowercase, Sequence
        from transformers import AutoTokenizer

        modules = _json(folder / "modules.json") if (folder / "modules.json").is_file() else []
        root = folder / modules[0]["path"] if modules else folder
        self.config, self.tensors = weights.load(root)
        self._forward = twin_of(self.config).forward
        if (root / "config.json").is_file():
            tokenizer = AutoTokenizer.from_pretrained(os.fspath(root), local_files_only=True)
        else:
            tokenizer = _original_tokenizer(root)
        settings = root / "sentence_bert_config.json"
        normalizer = tokenizer.backend_tokenizer.normalizer
        if modules and settings.is_file() and _json(settings).get("do_lower_case") and not normalizer.lowercase:
            tokenizer.backend_tokenizer.normalizer = Sequence([Lowercase(), normalizer])
        self.tokenize = reference_tokenizer(tokenizer, max_seq_length, options)
        self.rows = int(self.config["vocab_size"])
        self.max_seq_length = _stated_length(root, self.config)
        recipe = _recipe(folder, modules)
        self._heads: dict[str, Any] = {"embedding": recipe} if recipe else {}

    def use_pooling(self, modes: list[str], normalize: bool) -> None:
        """Answer ``embedding`` by these pooling modes in place of the folder's own."""
        self._heads["embedding"] = [tuple(modes), *(["normalize"] if normalize else [])]

    def __call__(self, ids: list[int], types: list[int] | None = None) -> dict[str, np.ndarray]:
        """Outputs for the tokens of one text or pair, and their types, 0 if left out."""
        outputs = self._forward(self.tensors, self.config, np.array(ids), np.array(types) if types else None)
        return heads.answers(outputs, self._heads)


def _stated_length(root: Path, config: dict[str, Any]) -> int | None:
    """Tokens at which the files of a transformer say that texts are cut: sentence-transformers', then transformers'."""
    for pattern, key in (("sentence_*_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        for path in root.glob(pattern):
            if length := _json(path).get(key):
                return min(int(length), int(config["max_position_embeddings"]))
    return None


def _recipe(folder: Path, modules: list[dict[str, str]]) -> list[Any]:
    recipe: list[Any] = []
    for module in modules[1:]:
        path, kind = folder / module["path"], module["type"].split(".")[-1]
        if kind == "Pooling":
            config = _json(path / "config.json")
            modes = config.get("pooling_mode") or [
                mode
                for mode, key in (
                    ("cls", "cls_token"), ("max", "max_tokens"), ("mean", "mean_tokens"),
                    ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens"), ("weightedmean", "weightedmean_tokens"),
                    ("lasttoken", "lasttoken"),
                )
                if config.get(f"pooling_mode_{key}")
            ] or "mean"  # fmt: skip
            recipe.append((modes,) if isinstance(modes, str) else tuple(modes))
        elif kind == "Dense":
            tensors, config = weights.tensors_of(path), _json(path / "config.json")
            name = config.get("activation_function", "Tanh").split(".")[-1].lower()
            recipe.append((tensors["linear.weight"], tensors.get("linear.bias", 0.0), name))
        elif kind == "Normalize":
            recipe.append("normalize")
    return recipe


def _original_tokenizer(folder: Path) -> Any:
    """The tokenizer of Google's checkpoints: vocab.txt, whose words tell whether texts are lower-cased."""
    from transformers import BertTokenizer

    settings = folder / "tokenizer_config.json"
    lowercase = _json(settings).get("do_lower_case") if settings.is_file() else None
    if lowercase is None:
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        lowercase = all(line == line.lower() or re.fullmatch(r"\[.*\]", line) for line in lines)
    return BertTokenizer(vocab=os.fspath(folder / "vocab.txt"), do_lower_case=lowercase)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
