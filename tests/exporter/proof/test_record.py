"""A published version is verified again without its source, with the reference's answers from the export."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rawbert.exporter import CorruptSource, SourceNotFound
from rawbert.exporter.proof import answers, verify
from rawbert.exporter.recipe import Recipe


def test_it_holds_what_the_export_was_verified_with(tiny_bundle: Any, data: Path, minilm_bundle: Any) -> None:
    recipe = Recipe.from_json(tiny_bundle.manifest["recipe"])
    kept = answers.read(tiny_bundle.path / answers.FILE)
    assert len(kept) == len({each.text for each in kept}) == tiny_bundle.manifest["verification"]["texts"] >= 24
    live = answers.compute(
        replace(recipe, pooling=(), chosen=(), signatures=("pooled", "sequence")), data / "tiny_bert"
    )
    for got, wanted in zip(kept, live, strict=True):
        assert (got.text, got.tokens) == (wanted.text, wanted.tokens)
        assert set(got.vectors) == {"embedding", "pooled_output", "sequence_output"}
        for name, value in wanted.vectors.items():
            np.testing.assert_allclose(got.vectors[name], value, rtol=1e-6, atol=1e-6)
    assert (minilm_bundle.path / answers.FILE).stat().st_size < 0.02 * minilm_bundle.size


def test_a_version_without_its_source_is_compared_with_it(tiny_bundle: Any) -> None:
    recipe = Recipe.from_json(tiny_bundle.manifest["recipe"])
    file = tiny_bundle.path / answers.FILE
    before = file.read_bytes()
    report = verify.compare(verify.Task(tiny_bundle.path, recipe))
    assert report.mismatches == []
    assert report.texts >= 24
    strict = verify.Task(tiny_bundle.path, replace(recipe, tolerance=1e-12))
    assert any("is off by" in line for line in verify.compare(strict).mismatches)
    assert file.read_bytes() == before


def test_a_record_of_next_to_nothing_is_no_proof(tiny_bundle: Any, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle.path, tmp_path / "1")
    kept = answers.read(tiny_bundle.path / answers.FILE)
    recipe = Recipe.from_json(tiny_bundle.manifest["recipe"])
    answers.write(tmp_path / "1" / answers.FILE, kept[:10], recipe.signatures)
    (line,) = verify.compare(verify.Task(tmp_path / "1", recipe)).mismatches
    assert line.startswith("only 10 texts of ")


def test_a_missing_or_damaged_record_is_named(tiny_bundle: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="--source"):
        answers.read(tmp_path / "none.npz")
    whole = (tiny_bundle.path / answers.FILE).read_bytes()
    for broken in (b"", b"garbage", whole[: len(whole) // 2]):
        (tmp_path / "broken.npz").write_bytes(broken)
        with pytest.raises(CorruptSource, match="not a readable record of a verification"):
            answers.read(tmp_path / "broken.npz")
