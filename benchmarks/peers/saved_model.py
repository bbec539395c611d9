"""A SavedModel, run as in a server: a session and a prepared call. The base class of contestants with a SavedModel."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np

from .base import Setup

__all__ = ["Exported", "export"]

_PROJECT = Path(__file__).parents[2]


class Exported:
    """Runs one signature of a SavedModel.

    Args:
        setup: settings.
        folder: the version folder.
        signature, output: the signature to call, and the output to return; the input is ``text``.
    """

    def __init__(self, setup: Setup, folder: Path, signature: str, output: str) -> None:
        self._setup, self._folder, self._signature, self._output = setup, folder, signature, output

    def load(self) -> None:
        """Load it."""
        from rawbert.serving.server.runtime import SavedModel

        self._model = SavedModel(self._folder, intra_op=self._setup.threads, inter_op=self._setup.threads)

    def embed(self, texts: list[str]) -> np.ndarray:
        """Float32 ``[B, H]``."""
        text = np.array([each.encode() for each in texts], object)
        return self._model.run(self._signature, {"text": text}, [self._output])[self._output]

    def close(self) -> None:
        """Free the model."""
        self._model.close()


def export(setup: Setup, encoder: Path, name: str, **options: object) -> Path:
    """Base path of rawbert's export of a checkpoint; exported again if the exporter's code has changed."""
    code = hashlib.sha256()
    for path in sorted((_PROJECT / "exporter").rglob("*.py")):
        code.update(path.read_bytes())
    code.update(repr(sorted(options.items())).encode())
    base = setup.work / name
    stamp = setup.work / f"{name}.exporter"
    if not base.is_dir() or not stamp.is_file() or stamp.read_text() != code.hexdigest():
        from rawbert.exporter import ExportConfig
        from rawbert.exporter import export as run

        shutil.rmtree(base, ignore_errors=True)
        run(
            ExportConfig(
                encoder=encoder,
                output=base,
                version=1,
                max_seq_length=setup.max_tokens,
                signatures=("embed",),
                models_config=False,
                **options,  # type: ignore[arg-type]
            )
        )
        stamp.write_text(code.hexdigest())
    return base
