"""What a check finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEVELS = ("error", "warning", "note")

#: Things that are named; of more, only the number is given.
_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """Something found: its level, a short name for tools, and a sentence for people."""

    level: str
    kind: str
    message: str


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
