"""Exports for tests."""

from __future__ import annotations

import shutil
from pathlib import Path


def exported(encoder: Path, scratch: Path, **settings):
    """Export a copy of a source folder and delete the copy: no bundle may need what it was made from."""
    from rawbert.exporter import ExportConfig, export

    source = scratch / "source"
    shutil.copytree(encoder, source)
    bundle = export(ExportConfig(encoder=source, output=scratch / "models" / "bert", **settings))
    shutil.rmtree(source)
    return bundle
