"""Exports of real weights give the same vectors in every format; the formats' own tools converted the weights.

RAWBERT_MINILM_FORMATS must name the output folder of ``tests/data/make_formats.py`` for all-MiniLM-L6-v2.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from rawbert.exporter import ExportConfig, export
from rawbert.exporter.proof.samples import TEXTS

FORMATS = ("bin", "bin-legacy", "bin-shards", "safetensors-shards", "h5", "google", "tf-models", "hub-v1", "hub-v3")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def formats() -> Path:
    folder = os.environ.get("RAWBERT_MINILM_FORMATS")
    if folder is None:
        pytest.skip("RAWBERT_MINILM_FORMATS does not name a folder made by tests/data/make_formats.py")
    return Path(folder)


def outputs(bundle) -> dict[str, np.ndarray]:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    loaded = tf.saved_model.load(str(bundle.path))
    texts = tf.constant([text.encode() for text in TEXTS])
    return {
        "embedding": loaded.signatures["embed"](text=texts)["embedding"].numpy(),
        "sequence_output": loaded.signatures["sequence"](text=texts)["sequence_output"].numpy(),
    }


@pytest.fixture(scope="module")
def wanted(minilm_bundle) -> dict[str, np.ndarray]:
    return outputs(minilm_bundle)


@pytest.mark.parametrize("impl", ["native", "hub"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_format_gives_the_vectors_of_safetensors(formats: Path, wanted, tmp_path: Path, name: str, impl: str):
    if impl == "hub" and not name.startswith("hub"):
        pytest.skip("no SavedModel")
    bundle = export(
        ExportConfig(
            formats / name, tmp_path / "model", pooling="mean", normalize=True, max_seq_length=256, encoder_impl=impl,
            signatures=("embed", "sequence"),
        )
    )  # fmt: skip
    for key, value in outputs(bundle).items():
        off = float(np.abs(value - wanted[key]).max())
        print(f"{name} {impl} {key}: largest difference {off:.1e}")
        limit = 1e-6 if key == "embedding" or impl == "native" else 1e-5
        assert off <= limit
