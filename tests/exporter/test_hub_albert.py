"""ALBERT of TF Hub: from the folder to a server, with the ids of the Hub's own preprocessing model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import exported
from hub_albert import packed, preprocess_of, unpack

pytestmark = pytest.mark.slow

TEXTS = [
    "The quick caf\u00e9",
    "",
    "(a.b) 1,000 \ufb01 \u2460 \u00bd [MASK]",
    "\u1112\u1161\u11ab \u65e5\u672c\u8a9e\u306e " * 9,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("hub_albert"))


def outputs_of(folder: Path, tokens: list[tuple[list[int], list[int]]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Vectors by the Hub layer itself, of each text alone."""
    import tensorflow as tf
    import tensorflow_hub as hub

    layer = hub.KerasLayer(str(folder / "encoder"))
    found = []
    for ids, types in tokens:
        names = ("input_word_ids", "input_mask", "input_type_ids")
        given = dict(zip(names, (tf.constant([row]) for row in (ids, [1] * len(ids), types)), strict=True))
        answer = layer(given)
        found.append((answer["pooled_output"][0].numpy(), answer["sequence_output"][0].numpy()))
    return found


@pytest.mark.parametrize("impl", ["native", "hub"])
def test_it_is_served_as_by_the_hub(folder: Path, tmp_path: Path, impl: str):
    from rawbert.exporter.targets.check import check
    from rawbert.serving.client import Client
    from rawbert.serving.server import EmbeddedServer

    bundle = exported(folder / "encoder", tmp_path, encoder_impl=impl)
    for target in ("2.12", "2.16", "2.20", "2.21"):
        assert not [finding for finding in check(bundle.path, target) if finding.level != "note"]
    assert bundle.manifest["tokenizer"]["kind"] == "sentencepiece"
    assert "model" not in bundle.manifest["tokenizer"]
    assert any("AlbertTokenizer" in note for note in bundle.manifest["notes"])
    tokens = packed(preprocess_of(folder), [[text.encode() for text in TEXTS]], 48)
    wanted = outputs_of(folder, tokens)
    with (
        EmbeddedServer("albert", bundle.base_path) as server,
        Client(server.address, model="albert", timeout=300) as client,
    ):
        answers, vectors, sequences = client.tokenize(TEXTS), client.pooled(TEXTS), client.sequence(TEXTS)
    for answer, vector, sequence, (ids, _), (pooled, per_token) in zip(
        answers, vectors, sequences, tokens, wanted, strict=True
    ):
        assert answer.ids.tolist() == ids
        np.testing.assert_allclose(vector, pooled, rtol=0, atol=1e-5)
        np.testing.assert_allclose(sequence.vectors, per_token, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [{"pair": True}, {"precision": "bfloat16"}, {"pooling": "mean", "normalize": True, "pair": True},
     {"max_seq_length": 9, "pair": True, "truncation_strategy": "only_second"},
     {"truncation_side": "left", "max_seq_length": 7, "plain_text_special_tokens": True, "tokenizer": "tf-text"}],
)  # fmt: skip
def test_every_setting_of_bert_is_proven(folder: Path, tmp_path: Path, settings: dict[str, Any]):
    assert exported(folder / "encoder", tmp_path, **settings).manifest["verification"]


def test_a_tokenizer_that_keeps_case_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from rawbert.exporter import VerificationError
    from rawbert.exporter.tokenizers.sentencepiece import tokenizer

    fold = tokenizer.fold
    monkeypatch.setattr(tokenizer, "fold", lambda text, lowercase: fold(text, False))
    with pytest.raises(VerificationError):
        exported(folder / "encoder", tmp_path)


@pytest.mark.parametrize("before", [False, True])
def test_a_classifier_around_it_is_exported(folder: Path, tmp_path: Path, before: bool):
    from keras_models import around, shaken, users_head
    from rawbert.serving.client import Client
    from rawbert.serving.server import EmbeddedServer

    preprocess = folder / "preprocess"
    model = shaken(around(users_head, length=32, before=preprocess if before else None, hub_folder=folder / "encoder"))
    model.save(tmp_path / "classifier")
    bundle = exported(tmp_path / "classifier", tmp_path / "out")
    if before:
        wanted = model.predict(np.array(TEXTS, object), verbose=0)
    else:
        tokens = packed(preprocess_of(folder), [[text.encode() for text in TEXTS]], 32)
        fed = {
            name: np.zeros((len(TEXTS), 32), np.int32) for name in ("input_word_ids", "input_mask", "input_type_ids")
        }
        for row, (ids, _) in enumerate(tokens):
            fed["input_word_ids"][row, : len(ids)], fed["input_mask"][row, : len(ids)] = ids, 1
        wanted = model.predict(fed, verbose=0)
    with (
        EmbeddedServer("classifier", bundle.base_path) as server,
        Client(server.address, model="classifier", timeout=300) as client,
    ):
        answers = client.classify(TEXTS)
    scores = [answer.scores["LABEL_1"] for answer in answers]
    np.testing.assert_allclose(scores, wanted[:, 0], rtol=0, atol=1e-5)
