"""JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import CorruptSource

__all__ = ["read_json", "read_object"]


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        CorruptSource: it cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptSource(f"{path}: not readable as JSON: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """Parse a JSON file that holds an object.

    Raises:
        CorruptSource: it cannot be read or holds something else.
    """
    state = read_json(path)
    if not isinstance(state, dict):
        raise CorruptSource(f"{path}: not a JSON object: found a {type(state).__name__}")
    return state
