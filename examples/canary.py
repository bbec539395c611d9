"""Send a part of the calls to a new version; promote it if its answers agree, or take it back.

    rawbert promote models/minilm 1 --version-label stable
    rawbert promote models/minilm 2 --version-label canary
    python examples/canary.py models/minilm texts.txt

The versions must be served from this folder (``rawbert serve models``). The canary gets a tenth of the texts. Its
vectors are compared with those of the stable version, and its latency too. A new checkpoint has other vectors than the
old one: then compare the results of your own task instead of the cosine.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rawbert.serving import Client


def compared(stable: Client, canary: Client, texts: Sequence[str], share: float) -> tuple[float, float]:
    """Smallest cosine between the two versions, and how many times as long the canary takes, over a share of texts."""
    chosen = random.Random(0).sample(texts, max(1, round(len(texts) * share)))
    cosines, seconds = [], {stable: 0.0, canary: 0.0}
    for text in chosen:
        vectors = []
        for client in (stable, canary):
            begun = time.perf_counter()
            vectors.append(client.embed([text])[0])
            seconds[client] += time.perf_counter() - begun
        one, other = vectors
        same = one.shape == other.shape
        cosines.append(float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))) if same else -1.0)
    return min(cosines), seconds[canary] / seconds[stable]


def label(*words: str) -> None:
    """Move a label with the rawbert command."""
    command = [sys.executable, "-m", "rawbert", *words]
    subprocess.run(command, check=True)


def main() -> int:
    """Compare, then promote or roll back; 0 if the canary is now stable."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the model, such as models/minilm")
    parser.add_argument("texts", type=Path, help="one text per line")
    parser.add_argument("--address", default=os.environ.get("RAWBERT_ADDRESS", "localhost:8500"))
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--min-cosine", type=float, default=0.999)
    parser.add_argument("--max-slowdown", type=float, default=2.0)
    given = parser.parse_args()
    texts = given.texts.read_text(encoding="utf-8").splitlines()
    with (
        Client(given.address, model=given.model.name, version_label="stable") as stable,
        Client(given.address, model=given.model.name, version_label="canary") as canary,
    ):
        for client in (stable, canary):
            client.wait_until_ready(timeout=60)
        version, good = (client.embed(texts[:1], return_version=True)[1] for client in (canary, stable))
        cosine, slowdown = compared(stable, canary, texts, given.share)
    print(f"version {version}: smallest cosine {cosine:.5f}, {slowdown:.2f} times the time")
    if cosine < given.min_cosine or slowdown > given.max_slowdown:
        label("promote", str(given.model), str(good), "--version-label", "canary")
        return 1
    label("promote", str(given.model), str(version), "--version-label", "stable")
    print(f"To return to version {good}: rawbert rollback {given.model} --version-label stable")
    return 0


if __name__ == "__main__":
    sys.exit(main())
