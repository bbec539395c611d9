"""The pages of the documentation and their code blocks, for the tests that run them."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^(?P<indent> *)```(?P<language>[\w-]+)[^\n]*\n(?P<code>.*?)^(?P=indent)```",
    re.DOTALL | re.MULTILINE,
)
FENCE = re.compile(r" *(?P<fence>`{3,}|~{3,}) *(?P<language>.*)")
#: Languages of runnable blocks.
RUNNABLE = ("sh", "bash", "python", "go", "java")
#: Languages of all other blocks: outputs, data, queries.
OTHER = ("text", "json", "promql")
#: A line that a reader would run.
COMMAND = re.compile(r"\s*(?:[$>%] |(?:\w+=\S+ )?(?:rawbert|pip|docker|curl|make|python3?|import|from) \S)")

PAGES_OUTSIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md", "examples/README.md")


@dataclass(frozen=True)
class Block:
    """One fenced block; ``mark`` is the comment before it, such as ``not run: it needs Docker``.

    ``output`` is the text block after it, if that has the mark ``output``: it is then exactly what the block prints.
    """

    language: str
    code: str
    mark: str
    output: str = ""

    @property
    def is_run(self) -> bool:
        return not self.mark.startswith("not run:")


def pages() -> list[str]:
    """All pages that are not generated, by path: pages of docs/ by the path in docs/, others by the path in a clone."""
    own = [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md"))]
    return [*own, *(f"../{name}" for name in PAGES_OUTSIDE)]


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[Block]:
    """The runnable blocks of a page, in order."""
    every = list(BLOCK.finditer(text_of(page)))
    for found, following in zip_longest(every, every[1:]):
        if found["language"] in RUNNABLE:
            output = following["code"] if following and following["mark"] == "output" else ""
            code = textwrap.dedent(found["code"])
            if found["language"] in ("sh", "bash"):
                code = re.sub(r"\s*\\\n\s*", " ", code)  # A command on several lines is one command.
            yield Block(found["language"], code, found["mark"] or "", output)


def hidden_blocks(page: str) -> Iterator[str]:
    """Lines of a page that :func:`blocks` does not find and that a reader may still run: blocks in another form, or
    with another language, and commands within outputs. Pages of help texts have no runnable blocks.
    """
    helps = page.startswith("reference/commands/")
    fence = language = before = ""
    indented = r"(?: {4}|\t)\s*\S"
    for line in text_of(page).splitlines():
        found = FENCE.match(line)
        if fence and line.strip() == fence:
            fence = ""
        elif fence:
            if language in OTHER and COMMAND.match(line):
                yield line
        elif found:
            fence, language = found["fence"], found["language"]
            if fence != "```" or language not in (*RUNNABLE, *OTHER, *([""] if helps else [])):
                yield line
        elif (not before.strip() and re.match(indented, line)) or re.search(r"<(?:pre|code)\b", line):
            yield line
        if re.match(r"\S", line) and not fence:  # Below an item of a list, code has four spaces more.
            indented = r"(?: {8}|\t)\s*\S" if re.match(r"(?:[-*+]|\d+\.) ", line) else r"(?: {4}|\t)\s*\S"
        before = line
    if fence:
        yield fence
