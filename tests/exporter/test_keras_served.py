"""Fine-tuned Keras models end to end: trained, saved, exported and served, with the answers of ``model.predict``.

The user's own example, as a folder, is on docs/how-to/coming-from-hub.md, which tests/test_docs_hub_page.py runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from keras_models import TEXTS, around, fitted, preprocessor, stacked
from rawbert.exporter import ExportConfig, export, reverify
from rawbert.serving import Client
from rawbert.serving.server import EmbeddedServer


@pytest.mark.slow
def test_the_tutorials_classifier_of_raw_texts(tmp_path: Path) -> None:
    """A ``.keras`` file with a Hub preprocessing layer, the encoder, Dropout, and a Dense layer of logits."""
    import tensorflow as tf
    import tf_keras

    head = stacked("pooled_output", ("Dropout", {"rate": 0.1}), ("Dense", {"units": 1}))
    texts = tf.constant(TEXTS)
    model = fitted(
        around(head, before=preprocessor(tmp_path / "preprocess")),
        texts,
        tf_keras.losses.BinaryCrossentropy(from_logits=True),
    )
    model.save(tmp_path / "model.keras")
    wanted = 1 / (1 + np.exp(-model.predict(texts, verbose=0)[:, 0].astype(np.float64)))

    said: list[str] = []
    config = ExportConfig(tmp_path / "model.keras", tmp_path / "models" / "mine", labels=("no", "yes"))
    bundle = export(config, said.append)
    notes = " ".join(bundle.manifest["notes"])
    assert "tokens are those of tensorflow-text (--tokenizer tf-text), because" in notes
    assert "BinaryCrossentropy(from_logits=True)" in notes
    assert bundle.manifest["recipe"]["tokenization"]["tokenizer"] == "tf-text"
    assert set(bundle.signatures) == {"serving_default", "classify", "pooled", "sequence", "tokenize"}
    with EmbeddedServer("mine", bundle.base_path) as server, Client(server.address, model="mine") as client:
        answer = client.predict({"text": list(TEXTS)})
    np.testing.assert_allclose(answer["scores"][:, 1], wanted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answer["scores"].sum(1), 1, rtol=0, atol=1e-6)
    assert answer["label"].tolist() == [b"yes" if each > 0.5 else b"no" for each in wanted]
    assert answer["labels"].tolist() == [[b"no", b"yes"]] * len(TEXTS)

    recipe = reverify.recipe_of(bundle.path)
    assert not reverify.verify_folder(bundle.path, recipe, tmp_path / "model.keras").mismatches
