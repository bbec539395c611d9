"""Search the text files of a folder by meaning: first index them, then ask.

    python examples/semantic_search.py index docs --output docs.npz
    python examples/semantic_search.py ask docs.npz "How do I return to the previous version?"

It needs a served model with the signature ``embed``, and numpy. The index is a numpy file: at some ten thousand
paragraphs, one matrix product is faster than a vector database.
"""

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rawbert.serving import Client


def paragraphs(folder: Path) -> Iterator[tuple[str, str]]:
    """File name and text of each paragraph of the Markdown and text files below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".md", ".txt"):
            for text in re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace")):
                if len(text.split()) > 3:
                    yield path.relative_to(folder).as_posix(), text.strip()


def normalized(vectors: np.ndarray) -> np.ndarray:
    """The vectors with length 1, so that their products are cosines. Shape ``[texts, dim]``."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def index(client: Client, folder: Path, output: Path) -> int:
    """Embed all paragraphs and write the index; their number."""
    found = list(paragraphs(folder))
    if not found:
        raise SystemExit(f"error: {folder} contains no .md or .txt file with text")
    names, texts = zip(*found, strict=True)
    vectors = client.embed(texts, sort_by_length=True, timeout=None)
    np.savez(output, vectors=normalized(vectors), names=np.array(names), texts=np.array(texts))
    return len(texts)


def ask(client: Client, source: Path, question: str, count: int) -> list[tuple[float, str, str]]:
    """The paragraphs that are most similar to a question: cosine, file name, text."""
    stored = np.load(source)
    similar = stored["vectors"] @ normalized(client.embed([question]))[0]  # [texts]
    best = np.argsort(-similar)[:count]
    return [(float(similar[at]), str(stored["names"][at]), str(stored["texts"][at])) for at in best]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default=os.environ.get("RAWBERT_ADDRESS", "localhost:8500"))
    parser.add_argument("--model", default="minilm")
    commands = parser.add_subparsers(dest="command", required=True)
    indexing = commands.add_parser("index")
    indexing.add_argument("folder", type=Path)
    indexing.add_argument("--output", type=Path, required=True)
    asking = commands.add_parser("ask")
    asking.add_argument("index", type=Path)
    asking.add_argument("question")
    asking.add_argument("--count", type=int, default=3)
    given = parser.parse_args()
    with Client(given.address, model=given.model) as client:
        client.wait_until_ready(timeout=30)
        if given.command == "index":
            print(f"{index(client, given.folder, given.output)} paragraphs in {given.output}")
        else:
            for score, name, text in ask(client, given.index, given.question, given.count):
                print(f"{score:.3f}  {name}: {' '.join(text.split())[:100]}")


if __name__ == "__main__":
    main()
