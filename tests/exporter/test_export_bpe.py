"""RoBERTa with its byte-level BPE tokenizer end to end: exported, proven, checked for every release, and served."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpe
import pytest
import tokenizer_folders
from rawbert.exporter import ExportConfig, UnsupportedModel, export, reverify
from rawbert.exporter.targets import check, opsets
from rawbert.serving import Client
from rawbert.serving.server import EmbeddedServer

TEXTS = ["", "the cat sat", "naïve café — 中国 😀", " the  <mask> cat's", "e\u0301 \u1100\u1161\u11a8", "x" * 400]


@pytest.mark.slow
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize(
    "state",
    [bpe.small, lambda: bpe.variant("nfc"), lambda: bpe.variant("flags and blank"), bpe.roberta, bpe.modernbert],
    ids=["small", "nfc", "blank", "roberta", "modernbert"],
)
def test_it_is_exported_proven_checked_and_served(tmp_path: Path, state: Callable[[], dict[str, Any]], pair: bool):
    from rawbert.exporter.proof.reference import FolderReference

    folder = tokenizer_folders.roberta(tmp_path / "model", copy.deepcopy(state()))
    bundle = export(ExportConfig(folder, tmp_path / "models" / "mine", pair=pair, target_serving="2.12"))
    for release in opsets.RELEASES:
        assert [each for each in check.check(bundle.path, release) if each.level == "error"] == []
    assert not reverify.verify_folder(bundle.path, reverify.recipe_of(bundle.path), folder).mismatches
    rules = bundle.manifest["tokenizer"]
    assert (rules["kind"], "merges" in rules) == ("bpe", False)

    length = bundle.manifest["recipe"]["max_seq_length"]
    tokenize = FolderReference(folder, length).tokenize
    with EmbeddedServer("mine", bundle.base_path) as server, Client(server.address, model="mine") as client:
        inputs = {"text": TEXTS, "text_pair": TEXTS[::-1]} if pair else {"text": TEXTS}
        answer = client.predict(inputs, signature_name="tokenize")
    for row, texts in enumerate(zip(*inputs.values(), strict=True)):
        wanted = tokenize(*texts)
        count = len(wanted.ids)
        assert answer["input_word_ids"][row, :count].tolist() == wanted.ids
        assert answer["start_offsets"][row, :count].tolist() == wanted.starts
        assert answer["limit_offsets"][row, :count].tolist() == wanted.limits
        assert answer["token_count"][row] == wanted.count


def test_lower_casing_beside_it_is_refused(tmp_path: Path):
    folder = tokenizer_folders.roberta(tmp_path / "model", bpe.small())
    modules = [
        {"idx": at, "name": f"{at}", "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (kind, path) in enumerate([("Transformer", ""), ("Pooling", "1_Pooling")])
    ]
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    settings = {"max_seq_length": 16, "do_lower_case": True}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(UnsupportedModel, match="lower-cased"):
        export(ExportConfig(folder, tmp_path / "models" / "mine"))
