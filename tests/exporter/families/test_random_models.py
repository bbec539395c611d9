"""Random models of several shapes: graph and reference give PyTorch's vectors and logits, and exports are verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpe
import numpy as np
import pytest
import unigrams
from folders import edit, retensor
from formats import write_bin
from random_encoders import MODELS, RandomModel, padded
from rawbert.exporter import ExportConfig, export, sources
from rawbert.exporter.targets import check, opsets

HEADS = {"classify": "SequenceClassification", "tag": "TokenClassification"}


#: The models of the default tests; the others differ less from one of these.
USUAL = ("modernbert.base", "modernbert.biases", "deberta-v2.v3_small", "deberta-v2.v2_xlarge", "nomic_bert.base")
PARAMETERS = [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]


@pytest.fixture(scope="module", params=PARAMETERS)
def model(request: pytest.FixtureRequest) -> RandomModel:
    return RandomModel(request.param)


@pytest.fixture(scope="module")
def folder(model: RandomModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.folder(tmp_path_factory.mktemp("random") / "model", "SequenceClassification")


def test_the_encoder_gives_pytorchs_vectors_alone_and_in_batches(model: RandomModel, folder: Path):
    """Run as a graph, because TensorFlow's optimizers change the operations of a served graph."""
    import tensorflow as tf
    from rawbert.exporter.graph.encoder import NativeEncoder

    checkpoint = sources.load(folder)
    encode = tf.function(
        NativeEncoder(checkpoint.encoder, checkpoint.weights).__call__,
        input_signature=[tf.TensorSpec([None, None], tf.int32)] * 3,
        autograph=False,
    )
    count = len(model.texts)
    batches = [[row] for row in range(count)] + [[(3 * at + size) % count for at in range(size)] for size in (2, 7, 32)]
    for rows in batches:
        ids, mask = padded([model.texts[row] for row in rows])
        types, _ = padded([model.types[row] for row in rows])
        sequence, _ = encode(tf.constant(ids), tf.constant(mask), tf.constant(types))
        for at, row in enumerate(rows):
            wanted = model.sequence[row]
            np.testing.assert_allclose(sequence[at, : len(wanted)], wanted, rtol=0, atol=1e-5)
    empty = np.zeros((0, 2), np.int32)
    assert encode(empty, empty, empty)[0].shape[0] == 0


def test_the_reference_gives_pytorchs_vectors_and_logits(model: RandomModel, folder: Path):
    from rawbert.exporter.proof.heads import tag
    from rawbert.exporter.proof.reference import FolderReference

    reference = FolderReference(folder, 64)
    for row, (ids, types) in enumerate(zip(model.texts, model.types, strict=True)):
        outputs = reference(ids.tolist(), types.tolist())
        np.testing.assert_allclose(outputs["sequence_output"], model.sequence[row], rtol=0, atol=3e-6)
        np.testing.assert_allclose(outputs["scores"], model.classify[row], rtol=0, atol=3e-6)
        tags = tag.logits(outputs, reference.config, reference.tensors)
        np.testing.assert_allclose(tags, model.tag[row], rtol=0, atol=3e-6)


#: Model, head and settings of an export. Exports are compared with the reference, and the reference with PyTorch above.
EXPORTS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "DeBERTa: pairs": ("deberta-v2.v2_xlarge", "classify", {"pair": True, "max_seq_length": 24}),
}
SLOW: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "ModernBERT: mean of tokens": ("modernbert.biases", "classify", {}),
    "ModernBERT: first token, pairs": ("modernbert.base", "classify", {"pair": True}),
    "ModernBERT: first token, pairs, float16": (
        "modernbert.base",
        "classify",
        {"pair": True, "precision": "float16", "min_cosine": 0.99},
    ),
    "ModernBERT: tags": ("modernbert.biases", "tag", {}),
    "ModernBERT: bfloat16": ("modernbert.base", None, {"precision": "bfloat16", "min_cosine": 0.99}),
    "ModernBERT: float16": ("modernbert.sliding", "classify", {"precision": "float16", "min_cosine": 0.99}),
    "DeBERTa: tags": ("deberta-v2.v3_small", "tag", {}),
    "DeBERTa: tags, bfloat16": ("deberta-v2.v3_small", "tag", {"precision": "bfloat16", "min_cosine": 0.99}),
    "DeBERTa: types and positions, pairs": ("deberta-v2.own_projections", "classify", {"pair": True}),
    "DeBERTa: bfloat16": ("deberta-v2.v3_small", "classify", {"precision": "bfloat16", "min_cosine": 0.99}),
    "DeBERTa: float16": ("deberta-v2.v2_xlarge", None, {"precision": "float16", "min_cosine": 0.99}),
    "NomicBERT: the pooler's classes, pairs": ("nomic_bert.base", "classify", {"pair": True}),
    "NomicBERT: tags": ("nomic_bert.other", "tag", {}),
    "NomicBERT: tags, bfloat16": ("nomic_bert.base", "tag", {"precision": "bfloat16", "min_cosine": 0.99}),
    "NomicBERT: bfloat16": ("nomic_bert.base", None, {"precision": "bfloat16", "min_cosine": 0.99}),
}


@pytest.mark.parametrize("name", [*EXPORTS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_an_export_is_verified_and_runs_in_every_release(tmp_path: Path, name: str):
    model, head, settings = {**EXPORTS, **SLOW}[name]
    source = RandomModel(model).folder(tmp_path / "source", HEADS.get(head or ""))
    if name in EXPORTS:
        settings = {**settings, "signatures": ("sequence", head)}
    bundle = export(ExportConfig(source, tmp_path / "models", target_serving="2.12", **settings))
    assert bundle.manifest["encoder"]["configuration"]["family"] == model.partition(".")[0]
    assert bundle.manifest["verification"]["outputs"]
    if head is not None:
        assert head in bundle.manifest["signatures"]
    for release in opsets.RELEASES:
        assert [each for each in check.check(bundle.path, release) if each.level == "error"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["modernbert.base", "deberta-v2.v3_small"])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_model_with_a_tokenizer_of_the_familys_own_kind(tmp_path: Path, name: str, kind: str):
    source = RandomModel(name).folder(tmp_path / "source", "SequenceClassification")
    for file in ("vocab.txt", "tokenizer_config.json"):
        (source / file).unlink()
    state = bpe.variant("nfc") if kind == "bpe" else unigrams.state("DeBERTa of transformers 5")
    (source / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    rows = max([len(state["model"]["vocab"]), *(token["id"] + 1 for token in state["added_tokens"])])
    edit(source / "config.json", vocab_size=rows)

    def widen(tensors: dict[str, np.ndarray]) -> None:
        (key,) = (key for key in tensors if key.endswith(("tok_embeddings.weight", "word_embeddings.weight")))
        width = tensors[key].shape[1]
        tensors[key] = np.random.default_rng(1).normal(size=(rows, width)).astype(np.float32)

    retensor(source, widen)
    bundle = export(ExportConfig(source, tmp_path / "models", pair=True, max_seq_length=40))
    assert bundle.manifest["tokenizer"]["kind"] == kind
    assert "classify" in bundle.manifest["signatures"]


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("name", ["modernbert.base", "deberta-v2.v3_small", "nomic_bert.base"])
def test_a_sentence_transformers_folder_with_pytorchs_file(tmp_path: Path, name: str, pooling: str):
    model = RandomModel(name)
    source = model.folder(tmp_path / "source")
    (source / "model.safetensors").unlink()
    write_bin(source / "pytorch_model.bin", model.tensors)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listing = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(modules)
    ]
    (source / "modules.json").write_text(json.dumps(listing))
    (source / "1_Pooling").mkdir()
    state = {"pooling_mode": pooling, "embedding_dimension": 32}
    (source / "1_Pooling" / "config.json").write_text(json.dumps(state))
    (source / "sentence_bert_config.json").write_text('{"max_seq_length": 40, "do_lower_case": false}')
    edit(source / "tokenizer_config.json", model_max_length=64)
    bundle = export(ExportConfig(source, tmp_path / "models"))
    assert bundle.manifest["recipe"]["max_seq_length"] == 40
    assert bundle.manifest["recipe"]["pooling"] == [pooling]
    assert "embed" in bundle.manifest["signatures"]
