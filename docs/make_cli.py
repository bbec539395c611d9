"""Write docs/reference/commands, a page for each command: ``python docs/make_cli.py``. A test compares them."""

from pathlib import Path

FOLDER = Path(__file__).parent / "reference" / "commands"
INDEX = """# The rawbert command

`rawbert` has one command for each task. This page lists them, with the guides that show how to use them.
`rawbert COMMAND --help` prints the page of a command. [Configuration](../configuration.md) describes environment
variables and shell completion.

```
{help}
```

| command | guide |
|---|---|
{rows}

If a command fails, one line on standard error gives the reason.

`python docs/make_cli.py` writes this page, and the page of each command, from the commands' own help.
"""
#: Command -> the page that shows how to use it.
GUIDES = {
    "export": ("Sources", "../sources.md"),
    "finetune": ("Fine-tune on your own texts", "../../how-to/finetune.md"),
    "tokenize": ("The tokenizer", "../../explanation/tokenizer.md"),
    "verify": ("How the proof works", "../../explanation/proof.md"),
    "check": ("TensorFlow Serving releases", "../targets.md"),
    "inspect": ("TensorFlow Serving releases", "../targets.md"),
    "versions": ("Roll out and roll back", "../../how-to/roll-out.md"),
    "promote": ("Roll out and roll back", "../../how-to/roll-out.md"),
    "rollback": ("Roll out and roll back", "../../how-to/roll-out.md"),
    "prune": ("Roll out and roll back", "../../how-to/roll-out.md"),
    "push": ("Publish to an object store", "../../how-to/push.md"),
    "serve": ("The embedded server", "../server.md"),
    "certs": ("Secure it", "../../how-to/secure.md"),
    "embed": ("Embed files", "../../how-to/embed.md"),
    "classify": ("Label texts", "../../how-to/classify.md"),
    "tag": ("Find entities", "../../how-to/tag.md"),
    "rerank": ("Rerank documents", "../../how-to/rerank.md"),
    "bench": ("Choose batching", "../../how-to/batching.md"),
    "status": ("The client", "../client.md"),
    "metadata": ("The client", "../client.md"),
    "doctor": ("Examine a server", "../../how-to/doctor.md"),
    "up": ("The compose stack", "../../how-to/stack.md"),
    "stack": ("The compose stack", "../../how-to/stack.md"),
    "gateway": ("Answer OpenAI's and other APIs", "../../how-to/gateway.md"),
}


def render() -> dict[str, str]:
    """File name -> text, of all pages."""
    import click
    from rawbert.serving.cli.app import COMMANDS, rawbert

    guides = {name: f"[{title}]({page})" for name, (title, page) in GUIDES.items()}
    rows = "\n".join(f"| [{name}]({name}.md) | {guides[name]} |" for name in COMMANDS)
    pages = {"index.md": INDEX.format(help=help_of(), rows=rows)}
    for name in COMMANDS:
        command = rawbert.get_command(click.Context(rawbert), name)
        parts = command.commands if isinstance(command, click.Group) else ()
        blocks = [help_of(name), *(help_of(name, part) for part in parts)]
        begin = f"# rawbert {name}\n\nGuide: {guides[name]}.\n"
        pages[f"{name}.md"] = begin + "".join(f"\n```\n{block}\n```\n" for block in blocks)
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
