"""The SavedModel of ``rawbert export``, in process."""

from __future__ import annotations

from .base import Setup
from .saved_model import Exported, export

__all__ = ["Peer", "prepare"]


def prepare(setup: Setup) -> None:
    """Export the checkpoint with the precision of the setup."""
    options = {} if setup.precision == "float32" else {"precision": setup.precision}
    export(setup, setup.source, f"rawbert-{setup.precision}", **options)


class Peer(Exported):
    """See :class:`.base.Contestant`."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, setup.work / f"rawbert-{setup.precision}" / "1", "embed", "embedding")

    def prepare(self) -> None:
        """Export it."""
        prepare(self._setup)
