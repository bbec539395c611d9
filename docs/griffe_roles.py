"""The docstrings have the roles of Sphinx. This extension turns them into Markdown for the site."""

import re
import textwrap
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`~?([^`]+)`")
LITERAL = re.compile(r"^( *)Example::\n\n((?:\1 {4}.*\n|\n)+)", re.MULTILINE)


class Roles(griffe.Extension):
    """Turns roles, double backticks and ``Example::`` into Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that has been read."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """A docstring as Markdown."""
    text = LITERAL.sub(lambda found: _fenced(found[1], found[2]), text + "\n").rstrip()
    return re.sub(r"(?<!`)``(?!`)", "`", ROLE.sub(r"`\1`", text))


def _fenced(indent: str, code: str) -> str:
    fence = textwrap.indent(f"```python\n{textwrap.dedent(code).rstrip()}\n```", indent)
    return f"{indent}Example:\n\n{fence}\n"
