"""A published version is verified again without its source, by the answers that the reference gave at the export."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rawbert.exporter import CorruptSource, SourceNotFound
from rawbert.exporter.proof import answers, verify
from test_verify import job


@pytest.fixture
def recorded(tiny_bundle: Any) -> answers.RecordedReference:
    return answers.RecordedReference(tiny_bundle.path / answers.FILE)


def test_it_holds_what_the_export_was_verified_with(
    recorded: answers.RecordedReference, tiny_bundle: Any, data: Path, minilm_bundle: Any
) -> None:
    from rawbert.exporter.proof.reference import FolderReference

    assert len(recorded.texts) == len(set(recorded.texts)) >= 20
    live = FolderReference(data / "tiny_bert", tiny_bundle.manifest["max_seq_length"])
    for text in recorded.texts:
        tokens = recorded.tokenize(*text)
        assert tokens == live.tokenize(*text)
        wanted, got = live(tokens.ids, tokens.types), recorded(tokens.ids, tokens.types)
        assert set(got) == {"embedding", "pooled_output", "sequence_output"}
        for name in ("pooled_output", "sequence_output"):
            np.testing.assert_allclose(got[name], wanted[name], rtol=1e-6, atol=1e-6)
    assert (minilm_bundle.path / answers.FILE).stat().st_size < 0.02 * minilm_bundle.size


def test_a_version_without_its_source_is_compared_with_it(tiny_bundle: Any, data: Path) -> None:
    names = ("embed", "pooled", "sequence", "tokenize")
    file = tiny_bundle.path / answers.FILE
    again = job(tiny_bundle.path, data, *names, source=None, pooling=None, record=str(file))
    report = verify.compare(again)
    assert report.mismatches == []
    assert report.texts >= 20
    before = file.read_bytes()
    other = dataclasses.replace(again, max_seq_length=1, tolerance=1e-12)
    assert any("is off by" in line for line in verify.compare(other).mismatches)
    assert file.read_bytes() == before


def test_a_missing_or_damaged_record_is_named(tiny_bundle: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="--source"):
        answers.RecordedReference(tmp_path / "none.npz")
    whole = (tiny_bundle.path / answers.FILE).read_bytes()
    for broken in (b"", b"garbage", whole[: len(whole) // 2]):
        (tmp_path / "broken.npz").write_bytes(broken)
        with pytest.raises(CorruptSource, match="no record of a verification"):
            answers.RecordedReference(tmp_path / "broken.npz")
