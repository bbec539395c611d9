"""What an exported model must answer: an independent second opinion.

Nothing here comes from the exporter's own tokenizer, encoder, head or sources. For Hugging Face folders this
file reads the checkpoint's files by their own names and computes BERT in plain numpy float64; for Hub encoders
it calls the Hub layer itself. Tokens come from transformers' tokenizers.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..recipe import DEFAULT_TOKENIZATION, TokenizerOptions
from . import weights
from .tokens import reference_tokenizer

__all__ = ["BertReference", "HubReference", "bert_forward", "embed"]


class HubReference:
    """The Hub layer itself. ``rows``: rows of its embedding table, where they can be seen."""

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
        tables = [v for v in getattr(encoder, "variables", ()) if v.name.endswith("word_embeddings/embeddings:0")]
        self.rows = int(tables[0].shape[0]) if tables else None
        self._recipe: list[Any] = []

    def use_pooling(self, modes: list[str], normalize: bool) -> None:
        """Answer ``embedding`` too, by these pooling modes."""
        self._recipe = [tuple(modes), *(["normalize"] if normalize else [])]

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
        if self._recipe:
            outputs["embedding"] = embed(outputs["sequence_output"], self._recipe)
        return outputs


class BertReference:
    """A Hugging Face or sentence-transformers folder, computed in numpy float64; ``rows`` as above."""

    def __init__(self, folder: Path, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION) -> None:
        from tokenizers.normalizers import Lowercase, Sequence
        from transformers import AutoTokenizer

        modules = _json(folder / "modules.json") if (folder / "modules.json").is_file() else []
        root = folder / modules[0]["path"] if modules else folder
        self.config, self.tensors = weights.load(root)
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
        self._recipe = _recipe(folder, modules)

    def use_pooling(self, modes: list[str], normalize: bool) -> None:
        """Answer ``embedding`` by these pooling modes in place of the folder's own."""
        self._recipe = [tuple(modes), *(["normalize"] if normalize else [])]

    def __call__(self, ids: list[int], types: list[int] | None = None) -> dict[str, np.ndarray]:
        """Outputs for the tokens of one text or pair, and their types, 0 if left out."""
        outputs = bert_forward(self.tensors, self.config, np.array(ids), np.array(types) if types else None)
        if self._recipe:
            outputs["embedding"] = embed(outputs["sequence_output"], self._recipe)
        return outputs


def bert_forward(
    tensors: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    ids: np.ndarray,
    type_ids: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """BERT's forward pass over one text without padding (https://arxiv.org/abs/1810.04805).

    DistilBERT (https://arxiv.org/abs/1910.01108) leaves the token types out; ELECTRA
    (https://arxiv.org/abs/2003.10555) projects the embeddings.

    Args:
        tensors: by the names of Hugging Face's BERT, without a prefix.
        config: what config.json says.
        ids: int ``[tokens]``.
        type_ids: int ``[tokens]``, 0 if left out.

    Returns:
        ``sequence_output`` float64 ``[tokens, hidden]`` and, where there is a pooler, ``pooled_output`` ``[hidden]``.
    """
    weights = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): value
        for name, value in tensors.items()
    }

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].astype(np.float64).T + weights[f"{name}.bias"].astype(np.float64)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + config.get("layer_norm_eps", 1e-12))
        gamma, beta = (weights[f"{name}.LayerNorm.{leaf}"].astype(np.float64) for leaf in ("weight", "bias"))
        return x * gamma + beta

    def rows(name: str, at: np.ndarray | slice) -> np.ndarray:
        return weights[f"embeddings.{name}.weight"][at].astype(np.float64)

    types = np.zeros(len(ids), int) if type_ids is None else type_ids
    x = rows("word_embeddings", ids) + rows("position_embeddings", slice(len(ids)))
    if "embeddings.token_type_embeddings.weight" in weights:  # DistilBERT has none
        x = x + rows("token_type_embeddings", types)
    x = norm(x, "embeddings")
    if "embeddings_project.weight" in weights:  # ELECTRA
        x = linear(x, "embeddings_project")
    heads = config["num_attention_heads"]
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        query, key, value = (
            np.stack(np.split(linear(x, f"{layer}.attention.self.{part}"), heads, axis=-1))
            for part in ("query", "key", "value")
        )
        scores = np.einsum("hqd,hkd->hqk", query, key) / math.sqrt(query.shape[-1])
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        attended = np.concatenate(list(scores / scores.sum(-1, keepdims=True) @ value), axis=-1)
        x = norm(x + linear(attended, f"{layer}.attention.output.dense"), f"{layer}.attention.output")
        inner = _ACTIVATIONS[config.get("hidden_act", "gelu")](linear(x, f"{layer}.intermediate.dense"))
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output")
    outputs = {"sequence_output": x}
    if "pooler.dense.weight" in weights:
        outputs["pooled_output"] = np.tanh(linear(x[0], "pooler.dense"))
    return outputs


def embed(tokens: np.ndarray, recipe: list[Any]) -> np.ndarray:
    """One embedding from the vectors of a text's tokens, ``[tokens, hidden]``, as sentence-transformers does it.

    ``recipe``: a tuple of pooling modes, then ``"normalize"`` or ``(weight, bias, activation)`` steps.
    """
    ranks = np.arange(1, len(tokens) + 1)[:, None]
    pooled = {
        "cls": lambda: tokens[0],
        "lasttoken": lambda: tokens[-1],
        "max": lambda: tokens.max(0),
        "mean": lambda: tokens.sum(0) / len(tokens),
        "mean_sqrt_len_tokens": lambda: tokens.sum(0) / math.sqrt(len(tokens)),
        "weightedmean": lambda: (tokens * ranks).sum(0) / ranks.sum(),
    }
    x = np.concatenate([pooled[mode]() for mode in recipe[0]])
    for step in recipe[1:]:
        if step == "normalize":
            x = x / max(float(np.linalg.norm(x)), 1e-12)
        else:
            weight, bias, name = step
            x = _ACTIVATIONS[name](weight.astype(np.float64) @ x + np.asarray(bias, np.float64))
    return x


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


def _erf(x: np.ndarray) -> np.ndarray:
    """The error function within 1e-13: cubic Hermite interpolation between exact values 1/1024 apart."""
    step = 1 / 1024
    grid = np.arange(-6, 6 + step, step)
    values = np.array([math.erf(point) for point in grid])
    slopes = 2 / math.sqrt(math.pi) * np.exp(-grid * grid) * step
    at = (np.clip(x, -6, 6 - step) + 6) / step
    left = at.astype(int)
    t = at - left
    return (
        values[left] * (1 + 2 * t) * (1 - t) ** 2 + slopes[left] * t * (1 - t) ** 2
        + values[left + 1] * t * t * (3 - 2 * t) + slopes[left + 1] * t * t * (t - 1)
    )  # fmt: skip


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(x / 2)) / 2


#: By the names that config.json and sentence-transformers' Dense (in lower case) use.
_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_python": _gelu,
    "gelu_pytorch_tanh": _gelu_tanh,
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
}
