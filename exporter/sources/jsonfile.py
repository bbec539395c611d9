"""JSON files of a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import CorruptSource

#: Maximum size in bytes. The tokenizer.json of a large vocabulary has 17 MB.
_LARGEST = 128 << 20


def read_json(path: Path, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Parse a JSON file, with or without a byte-order mark; ``pairs`` builds the objects, as in :mod:`json`.

    Raises:
        CorruptSource: it cannot be read or is not JSON.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise ValueError(f"it has {size} bytes")
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=pairs)
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptSource(f"{path}: not readable as JSON: {error}") from error


def read_object(path: Path, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> dict[str, Any]:
    """Parse a JSON file with an object, as :func:`read_json` does.

    Raises:
        CorruptSource: it cannot be read or is not an object.
    """
    state = read_json(path, pairs)
    if not isinstance(state, dict):
        raise CorruptSource(f"{path}: not a JSON object: found a {type(state).__name__}")
    return state
