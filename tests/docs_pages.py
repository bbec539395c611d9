"""The pages of the documentation and their code blocks, for the tests that run them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^(?P<indent> *)```(?P<language>[\w-]+)[^\n]*\n(?P<code>.*?)^(?P=indent)```",
    re.DOTALL | re.MULTILINE,
)
#: Languages of blocks that a reader would run.
RUNNABLE = ("sh", "bash", "python", "go", "java")


PAGES_OUTSIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md", "examples/README.md")


@dataclass(frozen=True)
class Block:
    """One fenced block; ``mark`` is the comment before it, such as ``not run: it needs Docker``."""

    language: str
    code: str
    mark: str

    @property
    def is_run(self) -> bool:
        return not self.mark.startswith("not run:")


def pages() -> list[str]:
    """All pages that people write, by their path below docs/; the README and others by their path above it."""
    own = [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md"))]
    return [*own, *(f"../{name}" for name in PAGES_OUTSIDE)]


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[Block]:
    """The runnable blocks of a page, in order."""
    for found in BLOCK.finditer(text_of(page)):
        if found["language"] in RUNNABLE:
            yield Block(found["language"], found["code"], found["mark"] or "")
