"""Exports from sources of every kind, and the source in their manifests."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from folders import DATA
from formats import relative, unpack
from hubs import Hubs, serve
from rawbert.exporter import ExportConfig, export
from rawbert.exporter.proof.reference import FolderReference


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("formats"))


def vectors(bundle, text: str) -> np.ndarray:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    loaded = tf.saved_model.load(str(bundle.path))
    return loaded.signatures["sequence"](text=tf.constant([text.encode()]))["sequence_output"][0].numpy()


def test_googles_checkpoint_in_a_zip_by_url(formats: Path, tmp_path: Path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in (formats / "google").iterdir():
            archive.write(path, f"uncased_tiny/{path.name}")
        archive.writestr("uncased_tiny/LICENSE", "\n   Apache License\n  Version 2.0\n")
    with serve(Hubs(files={"/uncased_tiny.zip": packed.getvalue()})) as hubs:
        config = ExportConfig(f"{hubs.url}/uncased_tiny.zip", tmp_path / "model", signatures=("sequence", "pooled"))
        bundle = export(config)
        source = bundle.manifest["source"]
        assert source["handle"] == f"{hubs.url}/uncased_tiny.zip"
    assert (source["kind"], source["origin"], source["revision"], source["location"]) == (
        "google",
        "archive",
        None,
        None,
    )
    assert source["archive_sha256"] == hashlib.sha256(packed.getvalue()).hexdigest()
    assert source["license"] == {"name": "Apache License", "file": "LICENSE"}
    files = {file["path"]: file["sha256"] for file in source["files"]}
    assert files["bert_model.ckpt.index"] == hashlib.sha256(
        (formats / "google" / "bert_model.ckpt.index").read_bytes()
    ).hexdigest()  # fmt: skip
    assert any("exact GELU" in note for note in bundle.manifest["notes"])
    reference = FolderReference(DATA / "tiny_bert", 64)
    wanted = reference(reference.tokenize("The cat sat.").ids)["sequence_output"]
    np.testing.assert_allclose(vectors(bundle, "The cat sat."), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["distilbert", "electra"])
def test_a_relative_of_bert(tmp_path: Path, family: str):
    folder = relative(family, tmp_path / "source")
    (folder / "README.md").write_text("---\nlicense: [mit, apache-2.0]\n---\nA model.\n")
    bundle = export(ExportConfig(folder, tmp_path / "model", pooling="mean"))
    source = bundle.manifest["source"]
    assert (source["origin"], source["handle"], source["location"]) == ("local", str(folder), str(folder))
    assert source["license"] == {"name": "mit, apache-2.0", "file": "README.md"}
    assert bundle.manifest["encoder"]["configuration"]["family"] == family
    assert set(bundle.signatures) == {"serving_default", "embed", "sequence", "tokenize"}  # no pooler, no pooled
    reference = FolderReference(folder, 64)
    wanted = reference(reference.tokenize("The cat sat.").ids)["sequence_output"]
    np.testing.assert_allclose(vectors(bundle, "The cat sat."), wanted, rtol=0, atol=1e-5)


def test_a_hub_encoder_of_version_1_as_it_is(formats: Path, tmp_path: Path):
    bundle = export(ExportConfig(formats / "hub-v1", tmp_path / "model", encoder_impl="hub", signatures=("sequence",)))
    assert bundle.manifest["recipe"]["encoder"] == "hub"
    assert bundle.manifest["source"]["license"] is None
    reference = FolderReference(DATA / "tiny_bert", 64)
    wanted = reference(reference.tokenize("The cat sat.").ids)["sequence_output"]
    np.testing.assert_allclose(vectors(bundle, "The cat sat."), wanted, rtol=0, atol=1e-5)


def test_a_source_that_cannot_be_had_leaves_nothing(tmp_path: Path):
    from rawbert.exporter import SourceNotFound

    with serve(Hubs()) as hubs, pytest.raises(SourceNotFound):
        export(ExportConfig(f"{hubs.url}/none.zip", tmp_path / "models" / "model"))
    assert os.listdir(tmp_path) == []
