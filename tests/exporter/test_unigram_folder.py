"""A folder with BERT's encoder and a Unigram tokenizer, like multilingual MiniLM: exported, proven, checked, served."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from exports import exported
from tokenizer_folders import multilingual

pytestmark = pytest.mark.slow


def test_it_exports_and_answers(tmp_path: Path):
    from rawbert.exporter.proof.reference import FolderReference
    from rawbert.exporter.targets.check import check
    from rawbert.serving.client import Client
    from rawbert.serving.server import EmbeddedServer

    folder = multilingual(tmp_path / "model")
    bundle = exported(folder, tmp_path)
    for target in ("2.12", "2.16", "2.20"):
        assert not [finding for finding in check(bundle.path, target) if finding.level != "note"]
    assert bundle.manifest["tokenizer"]["kind"] == "unigram"
    assert "precompiled_charsmap" not in json.dumps(bundle.manifest)
    reference = FolderReference(folder, 64)
    texts = ["the cat", "", "é  <s> ☃☃ abc", "中国人 the dog " * 20]
    with (
        EmbeddedServer("tiny", bundle.base_path) as server,
        Client(server.address, model="tiny", timeout=300) as client,
    ):
        answers, vectors = client.tokenize(texts), client.pooled(texts)
    for text, tokens, vector in zip(texts, answers, vectors, strict=True):
        wanted = reference.tokenize(text)
        assert tokens.ids.tolist() == wanted.ids
        assert tokens.start_offsets.tolist() == wanted.starts
        np.testing.assert_allclose(vector, reference(wanted.ids, wanted.types)["pooled_output"], rtol=0, atol=1e-5)
