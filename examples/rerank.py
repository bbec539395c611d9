"""Find documents in two steps: an embedding model selects candidates, a cross-encoder sorts them.

    python examples/rerank.py documents.txt "How do I reset my password?"

It needs two served models: ``--embedder`` with the signature ``embed``, and ``--reranker`` with ``score``. The first
step is one matrix product over all documents; the second runs the slower, more exact model on few of them.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rawbert.serving import Client, Ranked


def search(
    embedder: Client, reranker: Client, documents: Sequence[str], query: str, candidates: int, count: int
) -> list[Ranked]:
    """The best ``count`` documents. ``index`` of a result is its position among the candidates."""
    vectors = embedder.embed([query, *documents], sort_by_length=True, timeout=None)  # [1 + documents, dim]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similar = vectors[1:] @ vectors[0]  # [documents]
    nearest = [documents[at] for at in np.argsort(-similar)[:candidates]]
    return reranker.rerank(query, nearest, top_k=count)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path, help="a document a line")
    parser.add_argument("query")
    parser.add_argument("--address", default=os.environ.get("RAWBERT_ADDRESS", "localhost:8500"))
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--reranker", default="reranker")
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--count", type=int, default=5)
    given = parser.parse_args()
    documents = given.documents.read_text(encoding="utf-8").splitlines()
    with (
        Client(given.address, model=given.embedder) as embedder,
        Client(given.address, model=given.reranker) as reranker,
    ):
        for client in (embedder, reranker):
            client.wait_until_ready(timeout=30)
        for ranked in search(embedder, reranker, documents, given.query, given.candidates, given.count):
            print(f"{ranked.score:8.3f}  {ranked.document}")


if __name__ == "__main__":
    main()
