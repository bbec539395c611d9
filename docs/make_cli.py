"""Write docs/cli.md, every command's own help: ``python docs/make_cli.py``. A test holds the page to it."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# The rawbert command

Written by `python docs/make_cli.py` from the commands' own help.

Exit codes: 0 done, 1 refused or failed (one line on standard error says why), 2 wrong usage, 130 interrupted.
"""


def render() -> str:
    """The page's text."""
    from click.testing import CliRunner
    from rawbert.serving.cli.app import COMMANDS, rawbert

    parts = [HEAD]
    for words in ([], *([name] for name in COMMANDS)):
        result = CliRunner().invoke(
            rawbert, [*words, "--help"], prog_name="rawbert", terminal_width=100, max_content_width=100
        )
        if result.exit_code:
            raise SystemExit(f"rawbert {' '.join(words)} --help failed: {result.output}")
        parts.append(f"## rawbert {' '.join(words)}".rstrip() + f"\n\n```\n{result.output.rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
