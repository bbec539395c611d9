"""A finding of ``rawbert check``."""

import functools
from dataclasses import dataclass

LEVELS = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """A finding: its level, a short name for tools, and a sentence for people."""

    level: str
    kind: str
    message: str


error, warning, note = (functools.partial(Finding, level) for level in LEVELS)
