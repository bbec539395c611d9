"""The exports in which faults are planted; each is written once per test file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from planted import EXPORTS
from proofs import Planted


@pytest.fixture(scope="module")
def planted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Planted]:
    made: dict[str, Planted] = {}

    def of(name: str) -> Planted:
        if name not in made:
            source, settings = EXPORTS[name]
            folder = tmp_path_factory.mktemp("sound")
            shutil.copytree(data / source, folder / "source")
            if source in ("tiny_electra", "tiny_distilbert"):
                shutil.copy(data / "tiny_bert" / "vocab.txt", folder / "source")
            made[name] = Planted(folder / "source", folder / "1", **settings)
        return made[name]

    return of
