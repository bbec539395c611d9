"""Write docs/reference/commands, a page for each command: ``python docs/make_cli.py``. A test compares them."""

from pathlib import Path

FOLDER = Path(__file__).parent / "reference" / "commands"
INDEX = """# The rawbert command

```
{help}
```

`python docs/make_cli.py` writes this page and the page of each command from the commands' own help:
{links}.

Exit codes: 0 done, 1 refused or failed (one line on standard error says why), 2 wrong usage, 130 interrupted.
"""


def render() -> dict[str, str]:
    """File name -> text, of all pages."""
    import click
    from rawbert.serving.cli.app import COMMANDS, rawbert

    links = ",\n".join(f"[{name}]({name}.md)" for name in COMMANDS)
    pages = {"index.md": INDEX.format(help=help_of(), links=links)}
    for name in COMMANDS:
        command = rawbert.get_command(click.Context(rawbert), name)
        parts = command.commands if isinstance(command, click.Group) else ()
        blocks = [help_of(name), *(help_of(name, part) for part in parts)]
        pages[f"{name}.md"] = f"# rawbert {name}\n" + "".join(f"\n```\n{block}\n```\n" for block in blocks)
    return pages


def help_of(*words: str) -> str:
    """What a command prints for ``--help``, at a width of 100 columns."""
    from click.testing import CliRunner
    from rawbert.serving.cli.app import rawbert

    result = CliRunner().invoke(
        rawbert, [*words, "--help"], prog_name="rawbert", terminal_width=100, max_content_width=100
    )
    if result.exit_code:
        raise SystemExit(f"rawbert {' '.join(words)} --help failed: {result.output}")
    return result.output.rstrip()


if __name__ == "__main__":
    pages = render()
    for path in FOLDER.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
