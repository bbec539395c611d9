"""Folders with a SentencePiece model alone: exported with the tokens that transformers gives, or refused by name.

The package sentencepiece trains the models.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).parents[1] / "sentencepiece_folders.py"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    paths = [str(PROGRAM.parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, PROGRAM, tmp_path_factory.mktemp("folders")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


FAMILIES = {
    "albert": [0, 0, 0, 1, 1],
    "albert, cased": [0, 0, 0, 1, 1],
    "deberta": [0, 0, 0, 1, 1],
    "deberta, added": [0, 0, 0, 1, 1],
    "xlm-roberta": [0] * 6,
    "camembert": [0] * 6,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_is_exported_with_the_tokens_of_transformers(report: dict[str, Any], family: str):
    found = report[family]
    assert found["differences"] == []
    assert (found["tokenizer"], found["types"]) == ("unigram", FAMILIES[family])
    unknown = [note for note in found["notes"] if "unknown keys" in note]
    assert unknown == []
    differs = [note for note in found["notes"] if "unlike in transformers 4" in note]
    assert len(differs) == (family.partition(",")[0] in ("albert", "deberta"))


def test_settings_that_fast_tokenizers_do_not_follow_are_noted(report: dict[str, Any]):
    assert report["bytes"]["differences"] == []
    (note,) = report["bytes"]["notes"]
    assert note.endswith("do not follow: byte_fallback, add_dummy_prefix (false)")


@pytest.mark.parametrize(("kind", "name"), [("bpe", "BPE"), ("word", "word"), ("char", "character")])
def test_another_type_than_unigram_is_refused(report: dict[str, Any], kind: str, name: str):
    assert f"spm.model: a SentencePiece model of the type {name}" in report[kind]
    assert "only Unigram can be exported" in report[kind]


def test_a_model_that_the_familys_tokenizer_does_not_read_is_refused(report: dict[str, Any]):
    assert "builds a WordPiece tokenizer (BertTokenizer) in this folder" in report["of no class"]
    assert '"tokenizer_class": "XLMRobertaTokenizer"' in report["of no class"]
