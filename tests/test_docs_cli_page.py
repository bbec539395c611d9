"""The pages of the commands, and the commands in the blocks of all pages, agree with the command line."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

from docs_pages import BLOCK, blocks, pages, text_of

ROOT = Path(__file__).parents[1]


def _make_cli() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_command_has_a_page_with_its_own_help() -> None:
    make_cli = _make_cli()
    pages = {path.name: path.read_text(encoding="utf-8") for path in make_cli.FOLDER.iterdir()}
    assert pages == make_cli.render(), "run: python docs/make_cli.py"


def shell_lines(begin: str) -> list[str]:
    """Commands of the pages, in blocks and in the text."""
    shell = [each.code for page in pages() for each in blocks(page) if each.language == "sh"]
    lines = [line for code in shell for line in code.splitlines() if line.startswith(begin)]
    inline = [found for page in pages() for found in re.findall(r"`([^`\n]+)`", BLOCK.sub("", text_of(page)))]
    return lines + [code for code in inline if re.match(rf"{begin}[a-z]", code)]


def test_commands_in_the_documentation_exist_with_the_options_that_it_gives_them() -> None:
    import click
    from rawbert.serving.cli.app import COMMANDS, rawbert

    lines = shell_lines("rawbert ")
    helps = [page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference" / "commands").glob("*.md")]
    examples = [line for text in helps for line in re.findall(r"^    (rawbert .*)$", text, re.MULTILINE)]
    assert lines
    assert examples
    for line in lines + examples:
        name = line.split()[1]
        assert name in COMMANDS, line
        command = rawbert.get_command(None, name)  # type: ignore[arg-type]
        if isinstance(command, click.Group):
            command = command.commands.get(line.split()[2]) if len(line.split()) > 2 else command
        assert command is not None, line
        known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        used = set(re.findall(r"(?<=\s)--[a-z][\w-]*", line))
        assert used <= known | {"--help"}, line


def test_extras_in_the_documentation_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [found for page in pages() for found in re.findall(r"\.\[([\w,]+)\]", text_of(page))]
    assert set(",".join(named).split(",")) <= set(project["optional-dependencies"])
    assert len(named) > 10


def test_readme_names_the_make_targets() -> None:
    readme, makefile = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))
    named = {line.split()[1] for line in shell_lines("make ")}
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for target in ("demo", "test", "test-slow", "lint"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
