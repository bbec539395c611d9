"""rawbert's export of the Hub encoder as a black box: the layer is called unchanged."""

from __future__ import annotations

from . import hub
from .base import Setup
from .saved_model import Exported, export

__all__ = ["Peer"]


class Peer(Exported):
    """See :class:`.base.Contestant`."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, setup.work / "rawbert-hub" / "1", "embed", "embedding")

    def prepare(self) -> None:
        """Export it."""
        encoder = hub.folder(self._setup)
        export(self._setup, encoder, "rawbert-hub", encoder_impl="hub", pooling="mean", normalize=True)
