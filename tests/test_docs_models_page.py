"""docs/reference/models.md: its tables list all families and tasks, and every promised combination can be read."""

from __future__ import annotations

import json
import re
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "reference" / "models.md").read_text(encoding="utf-8")
sys.path.append(str(Path(__file__).with_name("exporter")))

#: A task's signature -> the end of its class, and the number of its labels.
TASKS = {
    "classify": ("ForSequenceClassification", 3),
    "score": ("ForSequenceClassification", 1),
    "tag": ("ForTokenClassification", 3),
    "embed": ("Model", 0),
    "pooled": ("Model", 0),
    "sequence": ("Model", 0),
}
#: Keys of all families' config.json.
CONFIG = {
    "vocab_size": 60,
    "hidden_size": 8,
    "embedding_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 40,
    "dim": 8,
    "n_layers": 1,
    "n_heads": 2,
    "hidden_dim": 8,
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
}


def table(heading: str) -> list[list[str]]:
    """The rows of the table under a heading, their cells without the marks of code."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert section is not None
    rows = [line.strip("|").split("|") for line in section[1].splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in row] for row in rows[1:]]


FAMILIES = [row[0] for row in table("Families")]
TOKENIZERS = [row[0] for row in table("Tokenizers")]
MODELS = table("Models by name")


def folder_of(target: Path, family: str, tokenizer: str, signature: str) -> Path:
    """A checkpoint of a family and a task, with a tokenizer of a kind; its weights are zero."""
    from rawbert.exporter.families import FAMILIES, head_of, read_config
    from rawbert.exporter.families.config import canonical_shapes
    from rawbert.exporter.families.names import TORCH, Naming
    from safetensors.numpy import save_file

    ending, labels = TASKS[signature]
    target.mkdir()
    kind = "".join(part.capitalize() for part in re.split("[-_]", family))
    config: dict[str, Any] = {**CONFIG, "model_type": family, "architectures": [f"{kind}{ending}"]}
    encoder = read_config(config, target)
    tensors = {}
    naming = Naming(FAMILIES[family].NAMES, TORCH)
    for name, shape in canonical_shapes(encoder).items():
        if spellings := naming.spellings(name):
            tensors[spellings[0]] = np.zeros(shape[::-1] if name.endswith("/kernel") else shape, np.float32)
    if labels:
        config["id2label"] = {str(at): f"L{at}" for at in range(labels)}
        head = head_of(family, ending.removeprefix("For"), config, target)
        for stem in head.names:
            width = labels if stem == "head/output" else 8
            for leaf in head.leaves(stem):
                name = Naming(head.names, TORCH).spellings(f"{stem}/{leaf}")[0]
                tensors[name] = np.zeros((width, 8) if leaf == "kernel" else width, np.float32)
    (target / "config.json").write_text(json.dumps(config))
    save_file(tensors, target / "model.safetensors")
    tokenizer_of(tokenizer).save(str(target / "tokenizer.json"))
    if signature == "embed":
        modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
        listed = [
            {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for at, (path, kind) in enumerate(modules)
        ]
        (target / "modules.json").write_text(json.dumps(listed))
        (target / "1_Pooling").mkdir()
        (target / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return target


def tokenizer_of(kind: str) -> Any:
    """A tokenizer of a dozen tokens, as the models of its kind have it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    if kind == "WordPiece":
        tokenizer = Tokenizer(
            models.WordPiece({word: at for at, word in enumerate([*special, "a", "##b"])}, unk_token="<unk>")
        )
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    elif kind == "Unigram":
        tokenizer = Tokenizer(models.Unigram([*((word, 0.0) for word in special), ("\u2581", -2.0), ("a", -3.0)], 3))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    else:
        letters = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())[:50]]
        tokenizer = Tokenizer(models.BPE({word: at for at, word in enumerate(letters)}, [], unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def test_the_tables_have_every_family_and_every_kind_of_tokenizer() -> None:
    from rawbert.exporter.families import FAMILIES as KNOWN
    from rawbert.exporter.tokenizers.tokenizer import TOKENIZERS as KINDS

    assert set(FAMILIES) == set(KNOWN)
    # SentencePiece's own models are only in encoders of TF Hub.
    assert {kind.lower() for kind in TOKENIZERS} == set(KINDS) - {"sentencepiece"}
    for name, _, _, taken in table("Families"):
        assert taken.startswith("the pooler" if KNOWN[name].CLASSIFIER.takes == "pooled" else "the first token"), name


def test_the_models_are_of_families_and_kinds_that_are_there() -> None:
    assert len(MODELS) > 15
    for name, family, kind, signature, _ in MODELS:
        assert family in FAMILIES, name
        assert kind in TOKENIZERS, name
        assert signature in TASKS, name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_works_with_every_tokenizer_for_every_task(tmp_path: Path, family: str) -> None:
    from proofs import resolved

    named = {(kind, signature) for _, of, kind, signature, _ in MODELS if of == family}
    for kind, signature in named | set(product(TOKENIZERS, ("embed", "classify", "score", "tag"))):
        recipe, checkpoint = resolved(folder_of(tmp_path / f"{kind}-{signature}", family, kind, signature))
        assert recipe.default == signature
        assert checkpoint.tokenizer.kind == kind.lower()
