"""``rawbert serve`` in a separate process, and rawbert's client: a call is a gRPC call over loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from . import rawbert_graph
from .base import Contestant

__all__ = ["Peer"]


class Peer(Contestant):
    """See :class:`.base.Contestant`."""

    def prepare(self) -> None:
        """Export the checkpoint."""
        rawbert_graph.prepare(self._setup)

    def load(self) -> None:
        """Start the server and connect; a call is not split, however many texts it has."""
        from rawbert.serving import Client

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        threads = self._setup.threads
        self._server = subprocess.Popen(
            [
                Path(sys.executable).with_name("rawbert"), "serve", "--host=127.0.0.1", f"--port={port}",
                "--model_name=bench", f"--model_base_path={self._setup.work / f'rawbert-{self._setup.precision}'}",
                f"--tensorflow_intra_op_parallelism={threads}", f"--tensorflow_inter_op_parallelism={threads}",
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self._client = Client(f"127.0.0.1:{port}", model="bench", timeout=600, max_batch_size=512)
        self._client.wait_until_ready(timeout=120)

    def embed(self, texts: list[str]) -> np.ndarray:
        """Float32 ``[B, H]``."""
        return self._client.embed(texts)

    def close(self) -> None:
        """Stop the server."""
        self._client.close()
        self._server.terminate()
        self._server.wait(60)
