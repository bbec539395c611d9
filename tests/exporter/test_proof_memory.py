"""Maximum lengths that need too much memory are refused before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from folders import tiny
from rawbert.exporter import ConfigError, ExportConfig, export, memory
from rawbert.exporter.families import read_config


def modernbert_base():
    return read_config(
        {
            "model_type": "modernbert", "vocab_size": 50368, "hidden_size": 768, "num_hidden_layers": 22,
            "num_attention_heads": 12, "intermediate_size": 1152, "max_position_embeddings": 8192,
        },
        Path("config.json"),
    )  # fmt: skip


def test_the_longest_texts_of_a_long_context_need_more_than_a_machine_has(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "available", lambda: 16_000_000_000)
    with pytest.raises(ConfigError, match=r"8192.* takes about 40\.8 GB.*16\.0 GB .* Use --max-seq-length 4096"):
        memory.require(modernbert_base(), 8192, pair=False)
    with pytest.raises(ConfigError, match="Use --max-seq-length 2048"):
        memory.require(modernbert_base(), 8192, pair=True)
    memory.require(modernbert_base(), 4096, pair=False)


def test_an_export_is_refused_where_its_proof_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "available", lambda: 500_000)
    with pytest.raises(ConfigError, match=r"max_seq_length is 64: .*Use --max-seq-length 32"):
        export(ExportConfig(tiny(tmp_path / "source"), tmp_path / "models"))
    assert not list((tmp_path / "models").glob("[0-9]*"))
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.require(modernbert_base(), 8192, pair=True)
