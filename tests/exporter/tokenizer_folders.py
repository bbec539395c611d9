"""Tiny encoders with byte-level BPE and Unigram tokenizers, as folders in transformers' form."""

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
from folders import edit, retensor, tiny
from tiny_families import folder_of
from unigrams import SPECIAL, WORDS, state


def roberta(target: Path, tokenizer: dict[str, Any]) -> Path:
    """A tiny RoBERTa with a row for each token."""
    folder = folder_of("roberta", target)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    tokens = [*tokenizer["model"]["vocab"].values(), *(token["id"] for token in tokenizer["added_tokens"])]
    edit(folder / "config.json", vocab_size=max(tokens) + 1)

    def widen(tensors: dict[str, np.ndarray]) -> None:
        (name,) = (name for name in tensors if name.endswith("word_embeddings.weight"))
        width = tensors[name].shape[1]
        tensors[name] = np.random.default_rng(1).normal(size=(max(tokens) + 1, width)).astype(np.float32)

    retensor(folder, widen)
    return folder


def multilingual(target: Path) -> Path:
    """BERT's encoder and a Unigram tokenizer, like multilingual MiniLM."""
    folder = tiny(target)
    whole = state("E5", {"<s>": {"special": True}, "</s>": {"special": True}})
    letters = [char for char in (*string.ascii_lowercase, *".,?!") if char not in WORDS]
    scores = dict.fromkeys(SPECIAL, 0.0) | WORDS | dict.fromkeys(letters, -8.0)
    whole["model"]["vocab"] = [list(piece) for piece in scores.items()]
    (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    settings = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "vocab.txt").unlink()
    return folder
