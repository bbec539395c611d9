"""Additions to MkDocs: links to files outside of docs/, the list of commands, pages without side columns, options.

A page may link to any file of the repository, so that its links also work on the repository's own site. Such files
become part of the documentation site, below ``repository/``: Markdown as pages, other files unchanged.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?P<open>\]\()(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
OPTION = re.compile(r"<code>(-[^<]{1,38})</code>")
CODE = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)


def on_startup(**_: Any) -> None:
    """Let mkdocstrings find the two packages by their installed names: it looks for the folder before ``on_config``."""
    packages = ROOT / "build" / "docs-packages" / "rawbert"
    packages.mkdir(parents=True, exist_ok=True)
    for name in ("exporter", "serving"):
        (packages / name).unlink(missing_ok=True)
        (packages / name).symlink_to(ROOT / name)


def on_config(config: Any) -> Any:
    """List the pages of the commands."""
    _fill(config["nav"], "COMMANDS", sorted(f"reference/commands/{path.name}" for path in commands()))
    return config


def commands() -> list[Path]:
    """The pages of the commands, without their index."""
    return [path for path in (DOCS / "reference" / "commands").glob("*.md") if path.name != "index.md"]


def _fill(nav: list[Any], mark: str, pages: list[str]) -> None:
    """Replace a mark in the navigation by pages."""
    if mark in nav:
        nav[nav.index(mark) :] = [{f"rawbert {Path(page).stem}": page} for page in pages]
    for entry in nav:
        for inner in entry.values() if isinstance(entry, dict) else ():
            if isinstance(inner, list):
                _fill(inner, mark, pages)


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside of docs/ that pages link to, and those that these files link to."""
    waiting = [DOCS / file.src_uri for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for path in _linked(page):
            uri = uri_of(path)
            if not path.is_relative_to(DOCS) and files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(path)))
                if path.suffix == ".md":
                    waiting.append(path)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links to files outside of docs/ for the site, and hide side columns."""
    source = Path(page.file.abs_src_path)
    page.meta["hide"] = _hidden(page.file.src_uri)

    def placed(link: re.Match[str]) -> str:
        path = _target(source, link["target"])
        if path is None:
            return link[0]
        return f"](/{uri_of(path)}{link['anchor'] or ''})".replace("(/", f"({_up(page.file.src_uri)}")

    return "".join(part if part.lstrip().startswith("```") else LINK.sub(placed, part) for part in CODE.split(markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Mark options in the text, which the style sheet keeps on one line: browsers break a line after a hyphen."""
    return OPTION.sub(r'<code class="option">\1</code>', html)


def _hidden(uri: str) -> list[str]:
    """The side columns that a page does not need: its room is for the table of the home page and for help texts."""
    if uri == "index.md":
        return ["navigation", "toc"]
    return ["toc"] if uri.startswith("reference/commands/") else []


def uri_of(path: Path) -> str:
    """The path of a repository's file on the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return f"repository/{path.relative_to(ROOT).as_posix()}"


def _linked(page: Path) -> set[Path]:
    text = "".join(CODE.split(page.read_text(encoding="utf-8"))[::2])
    return {path for link in LINK.finditer(text) if (path := _target(page, link["target"]))}


def _target(page: Path, link: str) -> Path | None:
    """The file of the repository that a link names; ``None`` for web addresses and missing files."""
    path = Path(os.path.normpath(page.parent / link))
    return path if ":" not in link and path.is_file() and path.is_relative_to(ROOT) else None


def _up(uri: str) -> str:
    return "../" * uri.count("/")
