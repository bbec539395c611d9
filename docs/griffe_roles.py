"""Docstrings are written with Sphinx' roles; the site shows them as Markdown."""

import re
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
    text = LITERAL.sub(r"\1Example:\n\n\1```python\n\2\1```\n", text + "\n").rstrip()
    return ROLE.sub(r"`\1`", text).replace("``", "`").replace("```", "```")
