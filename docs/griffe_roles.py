"""The docstrings have the roles of Sphinx. This extension turns them into Markdown for the site."""

import re
import textwrap
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`~?\.*([^`]+)`")
LITERAL = re.compile(r"^( *)(\S.*)?::\n\n((?:\1 {4}.*\n|\n)+)", re.MULTILINE)


class Roles(griffe.Extension):
    """Turns roles, double backticks and code after ``::`` into Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that has been read."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """A docstring as Markdown."""
    text = LITERAL.sub(lambda found: _fenced(*found.groups()), text + "\n").rstrip()
    return re.sub(r"(?<!`)``(?!`)", "`", ROLE.sub(r"`\1`", text))


def _fenced(indent: str, words: str | None, code: str) -> str:
    """Code after words, or a drawing after a ``::`` alone."""
    begin, language = (f"{indent}{words}:\n\n", "python") if words else ("", "text")
    fence = textwrap.indent(f"```{language}\n{textwrap.dedent(code).rstrip()}\n```", indent)
    return f"{begin}{fence}\n\n"
