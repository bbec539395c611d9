"""Folders of tiny RoBERTas, XLM-RoBERTas, CamemBERTs and ALBERTs, and PyTorch's outputs for them; see
tests/data/make_tiny_families.py."""

from __future__ import annotations

import importlib.util
import json
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from folders import DATA

_spec = importlib.util.spec_from_file_location("make_tiny_families", DATA / "make_tiny_families.py")
assert _spec is not None
assert _spec.loader is not None
make = sys.modules["make_tiny_families"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)

GOLDEN = np.load(DATA / "tiny_families.npz")
MODELS: dict[str, dict[str, Any]] = json.loads(GOLDEN["models"].tobytes())
FAMILIES = ("roberta", "xlm-roberta", "camembert", "albert")
ENCODERS = [name for name in MODELS if f"{name}.sequence" in GOLDEN.files]
HEADS = [name for name in MODELS if f"{name}.logits" in GOLDEN.files]
#: Letters as words and inside of words, between the special tokens of RoBERTa, and :data:`WORDS`.
WORDS = ("the", ".", ",")
VOCABULARY = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    *string.ascii_lowercase,
    *(f"##{each}" for each in string.ascii_lowercase),
]
VOCABULARY += [*WORDS, "<mask>"]


def config_of(name: str) -> dict[str, Any]:
    """The config.json that transformers writes."""
    found: dict[str, Any] = MODELS[name]["config"]
    return found


def tensors_of(name: str) -> dict[str, np.ndarray]:
    """The weights, by the names in transformers' file."""
    found: dict[str, np.ndarray] = make.tensors_of(MODELS[name]["tensors"])
    return found


def rows_of(values: np.ndarray) -> list[np.ndarray]:
    """Split values for the tokens of all rows by row."""
    return np.split(values, np.cumsum(make.ROWS)[:-1])


def batch_of(name: str, rows: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, mask and types of some rows, int32 ``[rows, tokens]``."""
    config = config_of(name)
    ids = np.full((len(rows), max(make.ROWS[row] for row in rows)), config["pad_token_id"], np.int32)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for at, row in enumerate(rows):
        length = make.ROWS[row]
        ids[at, :length], types[at, :length] = make.ids_of(config)[row], make.types_of(config)[row]
        mask[at, :length] = 1
    return ids, mask, types


def folder_of(name: str, target: Path, **config: Any) -> Path:
    """A Hugging Face folder in the form of ``save_pretrained``, with a WordPiece tokenizer; ``...`` removes a key."""
    from safetensors.numpy import save_file

    target.mkdir(parents=True)
    state = {**config_of(name), **config}
    (target / "config.json").write_text(json.dumps({key: each for key, each in state.items() if each is not ...}))
    save_file(tensors_of(name), target / "model.safetensors", {"format": "pt"})
    write_tokenizer(target, "albert" if name.startswith("albert") else "roberta")
    return target


def write_tokenizer(folder: Path, family: str, kind: str = "WordPiece") -> None:
    """A tokenizer.json with the template of RoBERTa, or with ALBERT's; 60 tokens of any kind."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = string.ascii_lowercase
    if kind == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    elif kind == "Unigram":
        pieces = [
            *VOCABULARY[:4],
            *letters,
            *(f"\u2581{letter}" for letter in letters),
            "\u2581",
            "\u2581the",
            ".",
            "<mask>",
        ]
        tokenizer = Tokenizer(models.Unigram([(piece, -1.0 - at / 7) for at, piece in enumerate(pieces)], 3))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    else:
        words = [*VOCABULARY[:4], *letters, "\u0120", ".", "th", "the", "\u0120the", "<mask>"]
        merges = [("t", "h"), ("th", "e"), ("\u0120", "the")]
        tokenizer = Tokenizer(models.BPE({word: at for at, word in enumerate(words)}, merges, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)])
    if family == "albert":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    elif kind == "Unigram":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    else:
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "model_max_length": 1000}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def retokenize(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change tokenizer.json."""
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    change(state)
    path.write_text(json.dumps(state), encoding="utf-8")
