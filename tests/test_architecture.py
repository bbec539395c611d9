"""The code follows docs/explanation/architecture.md: imports only go down, and every folder is described."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: The layers from top to bottom: each imports only layers after it.
EXPORTER = (
    "cli", "__init__", "export", "reverify", "training", "publish", "proof", "graph", "resolve", "sources",
    "tokenizers", "memory", "families", "recipe", "targets", "protos", "scratch", "hashing", "errors",
)  # fmt: skip
SERVING = (
    "cli",
    "server",
    "doctor",
    "gateway",
    "__init__",
    "client",
    "certificates",
    "wire",
    "errors",
    "contract",
    "extras",
    "interrupts",
    "listening",
    "plurals",
    "data",
)

#: The proof does not share readers and graph with the code that it proves.
APART = {"exporter/proof": ("exporter/graph", "exporter/sources", "exporter/tokenizers", "exporter/families")}


def imports(package: str) -> Iterator[tuple[str, str, Path]]:
    """Relative imports: the importing part of a package, the imported part, and the file."""
    for path in sorted((ROOT / package).rglob("*.py")):
        here = list(path.relative_to(ROOT).with_suffix("").parts)
        folder = here[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = folder[: len(folder) - node.level + 1] + (node.module or "").split(".")
                for alias in node.names:
                    target = [part for part in [*base, alias.name] if part]
                    yield part_of(here), part_of(target), path.relative_to(ROOT)


def part_of(module: list[str]) -> str:
    """The part of a module: ``exporter/graph`` for all modules in it, ``exporter/__init__`` for the package itself."""
    package, name = [*module, "__init__"][:2]
    is_there = (ROOT / package / name).is_dir() or (ROOT / package / f"{name}.py").is_file()
    return f"{package}/{name if is_there else '__init__'}"


def code(package: str) -> list[Path]:
    """Modules and folders of a package, without empty folders."""
    return [path for path in (ROOT / package).iterdir() if path.suffix == ".py" or any(path.glob("*.py"))]


@pytest.mark.parametrize(("package", "layers"), [("exporter", EXPORTER), ("serving", SERVING)])
def test_imports_go_down(package: str, layers: tuple[str, ...]) -> None:
    order = {f"{package}/{name}": at for at, name in enumerate(layers)}
    parts = {part_of([package, path.stem]) for path in code(package)}
    assert parts <= set(order)
    up = {
        f"{path} imports {target}"
        for source, target, path in imports(package)
        if target in order and source != target and order[source] > order[target]
    }
    assert not up


def test_serving_never_imports_the_exporter() -> None:
    assert not [str(path) for _, target, path in imports("serving") if not target.startswith("serving/")]


@pytest.mark.parametrize("part", APART)
def test_the_proof_shares_nothing_with_what_it_proves(part: str) -> None:
    found = [f"{path}: {target}" for source, target, path in imports("exporter") if source == part]
    assert not [each for each in found if each.endswith(APART[part])]


def test_every_folder_is_described() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    folders = {
        f"{package}/{path.name}" for package in ("exporter", "serving") for path in code(package) if path.is_dir()
    }
    assert {folder for folder in folders if f"**`{folder}`**" not in page} == {"exporter/protos"}


@pytest.mark.parametrize("page", ["docs/explanation/architecture.md", "CONTRIBUTING.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    named = set(re.findall(r"`(?:[\w/]*/)?(\w+\.(?:py|toml))`", (ROOT / page).read_text(encoding="utf-8")))
    folders = ("exporter", "serving", "scripts", "docs", "tests")
    assert named - {"NAME.py"} - {path.name for folder in folders for path in (ROOT / folder).rglob("*.*")} == set()
    assert named
