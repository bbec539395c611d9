"""The export as a Python call: it publishes complete versions, and leaves no files after any failure."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import folders
import numpy as np
import pytest
from rawbert.exporter import (
    ConfigError,
    CorruptSource,
    ExportConfig,
    ExportError,
    OutputError,
    SourceNotFound,
    UnsupportedModel,
    VerificationError,
    VersionExists,
    VocabularyError,
    export,
)

TOKEN_OUTPUTS = {"input_word_ids", "input_mask", "start_offsets", "limit_offsets", "token_count"}


def signatures_of(folder: Path) -> dict[str, Any]:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    loaded = tf.saved_model.load(str(folder))
    return dict(loaded.signatures)


def run(signature: Any, *texts: str) -> dict[str, np.ndarray]:
    import tensorflow as tf

    return {name: value.numpy() for name, value in signature(text=tf.constant(texts, tf.string)).items()}


def test_what_is_published(tiny_bundle: Any) -> None:
    assert tiny_bundle.path == tiny_bundle.base_path / "1"
    assert (tiny_bundle.version, tiny_bundle.name) == (1, "bert")
    assert os.listdir(tiny_bundle.base_path) == ["1"]
    found = {name: {tensor.name for tensor in outputs} for name, outputs in tiny_bundle.signatures.items()}
    assert found == {
        "embed": {"embedding"},
        "pooled": {"pooled_output"},
        "sequence": {"sequence_output"} | TOKEN_OUTPUTS,
        "tokenize": TOKEN_OUTPUTS,
        "serving_default": {"embedding"},
    }
    assert tiny_bundle.size == sum(path.stat().st_size for path in tiny_bundle.path.rglob("*") if path.is_file())
    manifest = json.loads((tiny_bundle.path / "assets.extra" / "rawbert.json").read_text(encoding="utf-8"))
    assert manifest == json.loads(json.dumps(tiny_bundle.manifest))
    assert manifest["serving_default"] == "embed"
    assert manifest["verification"]["tolerance"] == 1e-5
    assert manifest["verification"]["min_cosine"] == 0.99999
    assert manifest["verification"]["outputs"].keys() == {
        "embed.embedding", "pooled.pooled_output", "sequence.sequence_output"
    }  # fmt: skip
    assert all(len(file["sha256"]) == 64 for file in manifest["source"]["files"])
    assert "model.safetensors" in {file["path"] for file in manifest["source"]["files"]}


def test_signatures_are_chosen_and_versions_counted(data: Path, tmp_path: Path) -> None:
    config = ExportConfig(encoder=data / "tiny_bert", output=tmp_path / "m", signatures=("tokenize",))
    lines: list[str] = []
    first = export(config, lines.append)
    assert [line.split()[0] for line in lines] == [
        "reading",
        "loading",
        "building",
        "verifying",
        "publishing",
    ]
    assert set(signatures_of(first.path)) == {"tokenize", "serving_default"}
    tokens = run(signatures_of(first.path)["tokenize"], "a " * 100, "")
    assert tokens["input_word_ids"].shape == (2, 64)
    assert tokens["token_count"].tolist() == [102, 2]

    pooled = replace(
        config, max_seq_length=7, version=5, signatures=("embed", "sequence", "tokenize"), name="other",
        pooling="cls", normalize=True,
    )  # fmt: skip
    fifth = export(pooled)
    assert (fifth.version, fifth.name, fifth.manifest["serving_default"]) == (5, "other", "embed")
    signatures = signatures_of(fifth.path)
    assert run(signatures["tokenize"], "a " * 100)["input_word_ids"].shape == (1, 7)
    # Pooling by the user's choice.
    assert (fifth.manifest["recipe"]["pooling"], fifth.manifest["recipe"]["steps"]) == (["cls"], ["normalize"])
    vector = run(signatures["sequence"], "the cat sat")["sequence_output"][:, 0]
    embedding = run(signatures["embed"], "the cat sat")["embedding"]
    np.testing.assert_allclose(embedding, vector / np.linalg.norm(vector), atol=1e-6)

    with pytest.raises(VersionExists, match=r"version 5 exists; .*next free one \(6\).*--force"):
        export(pooled)
    low = replace(config, version=5, force=True, pooling="mean", signatures=("embed",), precision="bfloat16")
    forced = export(low)
    assert forced.version == 5
    assert set(signatures_of(tmp_path / "m" / "5")) == {"embed", "serving_default"}
    # A lower precision is measured and bounded.
    assert forced.manifest["recipe"]["precision"] == "bfloat16"
    figures = forced.manifest["verification"]["outputs"]["embed.embedding"]
    assert 0.9995 <= figures["min_cosine"] < 0.9999999
    assert 1e-5 < figures["max_abs"] < 1e-1
    with pytest.raises(VerificationError, match="cosine"):
        export(replace(low, version=None, force=False, min_cosine=0.9999999))
    assert sorted(os.listdir(tmp_path / "m")) == ["1", "5"]


def test_the_next_version_is_counted_from_the_largest(tmp_path: Path) -> None:
    from rawbert.exporter.publish.bundle import Staging

    (tmp_path / "m" / "5").mkdir(parents=True)
    (tmp_path / "m" / "1").mkdir()
    with Staging(tmp_path / "m", None, False) as staging:
        assert staging.publish() == (tmp_path / "m" / "6", 6)


def test_an_export_that_verification_refuses_publishes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rawbert.exporter.graph import savedmodel

    build = savedmodel.choose_encoder

    def wrong(checkpoint: Any, impl: str, *options: Any) -> Any:
        return build(replace(checkpoint, encoder=replace(checkpoint.encoder, layer_norm_eps=1e-3)), impl, *options)

    monkeypatch.setattr(savedmodel, "choose_encoder", wrong)
    with pytest.raises(VerificationError, match=r"pooled\.pooled_output is off by .*, on '"):
        export(ExportConfig(encoder=data / "tiny_bert", output=tmp_path / "m"))
    assert os.listdir(tmp_path) == []


def test_a_graph_without_a_hash_is_an_error_of_the_export(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rawbert.exporter.targets import content_hash, graph_hash

    def circle(graph: Any) -> str:
        raise graph_hash.Unhashable("nodes read each other in a cycle")

    monkeypatch.setattr(content_hash, "graph_hash", circle)
    with pytest.raises(
        OutputError, match="has no content hash: nodes read each other in a cycle; nothing was published"
    ):
        export(ExportConfig(encoder=data / "tiny_bert", output=tmp_path / "m", signatures=("tokenize",)))
    assert os.listdir(tmp_path) == []


# Refusals. No files may remain, not even the output folder.


def _truncated(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.truncate(50_000)


def _without_cls(folder: Path) -> None:
    folders.use_vocabulary(folder, ["other" if t == "[CLS]" else t for t in folders.vocabulary(folder)])


def _larger_vocabulary(folder: Path) -> None:
    folders.use_vocabulary(folder, [*folders.vocabulary(folder), "more"])


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


REFUSED: dict[str, tuple[Callable[[Path], Any], dict[str, Any], type[ExportError], str]] = {
    "a missing folder": (shutil.rmtree, {}, SourceNotFound, "no such folder"),
    "a folder that is no model": (_empty, {}, UnsupportedModel, "not a known kind of model"),
    "a truncated safetensors file": (_truncated, {}, CorruptSource, r"model\.safetensors: .*cut short"),
    "a vocabulary without [CLS]": (_without_cls, {}, VocabularyError, r"the vocabulary has no \[CLS\]"),
    "a larger vocabulary": (_larger_vocabulary, {}, VocabularyError, "has 100 tokens, but the embedding table has 99"),
    "over the position table": (lambda f: None, {"max_seq_length": 65}, ConfigError, "65: give at most 64"),
    "hub for no Hub encoder": (lambda f: None, {"encoder_impl": "hub"}, ConfigError, "is a .* folder; use native"),
    "embed without a recipe": (lambda f: None, {"signatures": ("embed",)}, ConfigError, "embed"),
    "an unknown family": (
        lambda f: folders.edit(f / "config.json", model_type="xlnet"), {}, UnsupportedModel, "'xlnet'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_exported_is_refused(tmp_path: Path, fault: str) -> None:
    spoil, settings, kind, says = REFUSED[fault]
    source = folders.tiny(tmp_path / "source")
    spoil(source)
    with pytest.raises(kind, match=says):
        export(ExportConfig(encoder=source, output=tmp_path / "models" / "m", **settings))
    assert not (tmp_path / "models").exists()


def test_a_file_in_the_place_of_the_output(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    for output in (tmp_path / "file", tmp_path / "file" / "m"):
        with pytest.raises(OutputError, match="cannot be written: Not a directory"):
            export(ExportConfig(encoder=data / "tiny_bert", output=output))
    assert (tmp_path / "file").read_text(encoding="utf-8") == "kept"


def test_a_graph_of_more_than_2_gb(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    def save(*arguments: Any, **options: Any) -> None:
        # The error of TensorFlow 2.20 for three constants of 0.8 GB; to provoke it takes 21 GB of memory.
        raise DecodeError("Error parsing message with type 'tensorflow.GraphDef': Wire format was corrupt")

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(OutputError, match=r"larger than the 2 GB .* original checkpoint"):
        export(ExportConfig(encoder=data / "tiny_bert", output=tmp_path / "m", signatures=("tokenize",)))
    assert os.listdir(tmp_path) == []


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A small separate file system; skips if this user may not mount one."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_read_only_file_system(data: Path, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "mount", "ro") as folder:
        for output in (folder, folder / "models" / "m"):
            with pytest.raises(OutputError, match="cannot be written: Read-only file system"):
                export(ExportConfig(encoder=data / "tiny_bert", output=output))


# The SavedModel takes 1.4 MB: the disk fills while the weights are written, and while the graph is.
@pytest.mark.parametrize("size", ["100k", "600k", "1100k"])
def test_a_full_disk(data: Path, tmp_path: Path, size: str) -> None:
    with tmpfs(tmp_path / "mount", f"size={size}") as folder:
        with pytest.raises(OutputError, match="No space left on device"):
            export(ExportConfig(encoder=data / "tiny_bert", output=folder / "models" / "m"))
        assert os.listdir(folder) == []


def test_a_disk_that_is_full_at_the_last_file(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rawbert.exporter.publish.batching_params import Batching

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(Batching, "render", Mock(side_effect=full))
    with pytest.raises(OutputError, match="m: the version cannot be written: No space left on device"):
        export(ExportConfig(encoder=data / "tiny_bert", output=tmp_path / "m", signatures=("tokenize",)))
    assert os.listdir(tmp_path) == []
