"""Where the fields of a text proto stand, so that one can be changed and all else kept as it was written.

protobuf's own parser reads values and forgets comments, order and layout, which are what people put into a
configuration file. This finds spans only; what the text means is left to protobuf.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Field", "parse"]

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|(?P<mark>[{}<>\[\]:;,])|(?P<word>[^\s#"'{}<>\[\]:;,]+)"""
)
_CLOSING = {"{": "}", "<": ">"}


@dataclass
class Field:
    """A field as it is written.

    Attributes:
        name: its name.
        start: where the name begins.
        end: behind the value.
        value: the span of a scalar value; of a message, of what stands between its braces.
        fields: of a message, in order.
    """

    name: str
    start: int
    end: int = 0
    value: tuple[int, int] = (0, 0)
    fields: list[Field] = field(default_factory=list)
    is_message: bool = False

    def get(self, name: str) -> Iterator[Field]:
        """Fields of that name."""
        return (each for each in self.fields if each.name == name)


def parse(text: str) -> Field:
    """The whole text as one message.

    Raises:
        ValueError: its brackets do not match, or a field has no value.
    """
    tokens = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"line {text.count(chr(10), 0, at) + 1}: unexpected {text[at : at + 10]!r}")
        if found.lastgroup != "space":
            tokens.append((found.group(), found.start(), found.end()))
        at = found.end()
    root = Field("", 0, len(text), (0, len(text)), is_message=True)
    reader = _Reader(text, tokens)
    reader.fields(root, "")
    return root


class _Reader:
    def __init__(self, text: str, tokens: list[tuple[str, int, int]]) -> None:
        self._text, self._tokens, self._at = text, tokens, 0

    def fields(self, message: Field, closing: str) -> int:
        """Read fields up to ``closing``; where that stands."""
        while self._at < len(self._tokens):
            word, start, _ = self._next()
            if word == closing:
                return start
            if word in (";", ","):
                continue
            if word == "[":  # an extension, or the type of an Any
                while self._next()[0] != "]":
                    pass
            elif word in ("{", "}", "<", ">", "]", ":"):
                raise self._wrong(start, word)
            self._values(message, word, start)
        if closing:
            raise ValueError(f"the end comes before a closing {closing!r}")
        return len(self._text)

    def _values(self, message: Field, name: str, start: int) -> None:
        if self._peek() == ":":
            self._next()
        if self._peek() != "[":
            message.fields.append(self._value(name, start))
            return
        self._next()
        while self._peek() != "]":
            if self._peek() == ",":
                self._next()
                continue
            message.fields.append(self._value(name, start))
        self._next()

    def _value(self, name: str, start: int) -> Field:
        word, begin, end = self._next()
        made = Field(name, start)
        if word in _CLOSING:
            made.is_message = True
            stop = self.fields(made, _CLOSING[word])
            made.value, made.end = (end, stop), stop + 1
            return made
        if word in ("}", ">", "]", ":", ";", ","):
            raise self._wrong(begin, word)
        while word[0] in "\"'" and (self._peek() or " ")[0] in "\"'":  # strings side by side are one
            end = self._next()[2]
        made.value, made.end = (begin, end), end
        return made

    def _next(self) -> tuple[str, int, int]:
        if self._at == len(self._tokens):
            raise ValueError("the text ends in the middle of a field")
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> str | None:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else None

    def _wrong(self, at: int, word: str) -> ValueError:
        return ValueError(f"line {self._text.count(chr(10), 0, at) + 1}: unexpected {word!r}")
