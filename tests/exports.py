"""Exports for tests."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def exported(encoder: Path, scratch: Path, **settings):
    """Export a copy of a source folder and delete the copy, because no bundle may need its source."""
    from rawbert.exporter import ExportConfig, export

    source = scratch / "source"
    shutil.copytree(encoder, source)
    bundle = export(ExportConfig(encoder=source, output=scratch / "models" / "bert", **settings))
    shutil.rmtree(source)
    return bundle


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """The result of ``make(folder)``, computed once per run: the first worker that needs it computes it for all."""
    from rawbert.exporter.scratch import locked

    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each worker's own folder is in the run's
    made = root / f"{name}.pickle"
    with locked(root / f"{name}.lock"):
        if not made.exists():
            folder = root / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            made.write_bytes(pickle.dumps(make(folder)))
    return pickle.loads(made.read_bytes())
