"""The documentation: every page is in the navigation, every link has a target, and tests run every block."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_pages import BLOCK, DOCS, ROOT, RUNNABLE, blocks, hidden_blocks, pages, text_of

#: Pages, the languages of their blocks that other tests run, and these tests.
ELSEWHERE = {
    "how-to/coming-from-hub.md": (("sh", "python"), "test_docs_hub_page.py"),
    "how-to/gateway.md": (("python",), "serving/gateway/test_gateway_clients.py"),
    "reference/client.md": (("python",), "test_docs_client_pages.py"),
    "reference/deadlines.md": (("python",), "test_docs_client_pages.py"),
}


def navigation(entries: Any) -> list[str]:
    """The pages of a navigation."""
    if isinstance(entries, str):
        return [entries]
    return [
        page for entry in (entries.values() if isinstance(entries, dict) else entries) for page in navigation(entry)
    ]


def test_every_page_is_in_the_navigation() -> None:
    named = set(navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    commands = {page for page in pages() if page.startswith("reference/commands/")}
    assert "COMMANDS" in named  # docs/hooks.py puts the pages of the commands there
    outside = {page for page in named if page.startswith("repository/")}
    assert all((ROOT / page.removeprefix("repository/")).is_file() for page in outside)
    assert (named - outside - {"COMMANDS"}) | commands == {page for page in pages() if not page.startswith("../")}


def anchor(heading: str) -> str:
    """The anchor of a heading, as Markdown renderers make it."""
    words = re.sub(r"[`*]|\]\([^)]*\)", "", heading.strip()).lower()
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", words).strip())


@pytest.mark.parametrize("page", [*pages(), "../CHANGELOG.md", "../benchmarks/NOTES.md"])
def test_links_lead_to_files_and_headings(page: str) -> None:
    path = (DOCS / page).resolve()
    for link in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", text_of(page))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, heading = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in map(anchor, headings), link


@pytest.mark.parametrize("page", pages())
def test_every_block_is_run_or_says_why_not(page: str) -> None:
    from test_docs_stories import STORIES

    languages, file = ELSEWHERE.get(page, ((), ""))
    ran = RUNNABLE if page in STORIES and page not in ELSEWHERE else languages
    if page in ELSEWHERE:
        assert Path(page).name in (ROOT / "tests" / file).read_text(encoding="utf-8")
        ran = (*ran, "sh") if page in STORIES else ran
    for block in blocks(page):
        assert block.language in ran if block.is_run else len(block.mark) > len("not run: ") + 5, block.code
        for name in re.findall(r"(?:tests|examples|benchmarks|deploy)/[\w./-]+\w", block.mark):
            assert (ROOT / name).exists(), block.mark


@pytest.mark.parametrize("page", [*pages(), "../CHANGELOG.md"])
def test_no_block_is_hidden_from_the_tests(page: str) -> None:
    assert list(hidden_blocks(page)) == []


@pytest.mark.parametrize(
    "text",
    [
        "~~~sh\nrawbert nope\n~~~",
        "``` sh\nrawbert nope\n```\n\n```shell\nrawbert nope\n```",
        "````sh\nrawbert nope\n````",
        "```{.sh}\nrawbert nope\n```",
        "```\nrawbert nope\n```",
        "```text\n$ rawbert nope\n```",
        "```text\nRAWBERT_MODEL=a rawbert nope\n```",
        "\n    rawbert nope\n",
        "\n\trawbert nope\n",
        "- an item\n\n        rawbert nope\n",
        "- an item\n\ntext\n\n    rawbert nope\n",
        "<pre>rawbert nope</pre>",
        "```sh\nrawbert nope",
    ],
)
def test_hidden_blocks_are_found(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import docs_pages

    monkeypatch.setattr(docs_pages, "text_of", lambda page: text)
    assert list(hidden_blocks("page.md"))


def test_blocks_in_lists_and_tabs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import docs_pages

    monkeypatch.setattr(docs_pages, "text_of", lambda page: '=== "Tab"\n\n    ```python\n    a = 1\n    ```\n')
    assert [each.code for each in blocks("page.md")] == ["a = 1\n"]
    assert not list(hidden_blocks("page.md"))


#: Phrases that make a reader stumble: a noun must come first, and a relative clause must not replace it.
ODD = (
    r"\bit has not\.",
    r"\b(?:are|is) not \w+ either\b",
    r"\bholds? what\b",
    r"\bso many\b",
    r"\b1 texts\b",
    r"\bbehind\b",
    r"texts a (?:second|call)\b",
    r"\b[Ww]hat no \w+",
    r"\bwhat (?:it|they) (?:is|are|was|were) made\b",
    r"\bwhat came of\b",
    r"\bfor ever\b",
    r"\bsomebody else's\b",
    r"\bword is none\b",
    r"\bstands? once\b",
)


@pytest.mark.parametrize("page", [page for page in [*pages(), "../CHANGELOG.md"] if "commands/" not in page])
def test_the_english_is_plain(page: str) -> None:
    text = BLOCK.sub("", text_of(page))
    assert [found[0] for pattern in ODD for found in re.finditer(pattern, text)] == []


def test_few_pages_are_long() -> None:
    """Generated pages are not counted."""
    long = {
        page for page in pages() if not page.startswith("reference/commands/") and len(text_of(page).split()) > 1500
    }
    assert len(long) <= 3, long


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_the_clone_lines_of_the_readme_work(tmp_path: Path) -> None:
    clone = next(each.code for each in blocks("../README.md") if "git clone" in each.code)
    lines = clone.replace("URL", str(ROOT)).replace("make demo", "make --dry-run demo")
    subprocess.run(["bash", "-euc", lines], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "rawbert" / "pyproject.toml").is_file()


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "docs", f"VENV={tmp_path / 'venv'}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^WARNING +- .*", done.stdout + done.stderr, re.MULTILINE) == []
    found = list((ROOT / "build" / "site").rglob("*.html"))
    assert len(found) >= len(pages()) - 4
    for page in found:
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"(?:https?:)?//[^\"]*", page.read_text())
        assert [each for each in loaded if 'rel="canonical"' not in each] == [], page
