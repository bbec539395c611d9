"""Writing of JSON lines."""

import base64
import datetime
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from .source import Block


def line(fields: Mapping[str, Any], vector: Any = None) -> bytes:
    """A line of JSON in UTF-8: fields, and a vector as ``embedding``.

    The numbers of a vector are the shortest decimals that give the same float32.

    Raises:
        RecursionError: nested too deeply.
    """
    made = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    if vector is not None:
        numbers = ", ".join(str(each) if math.isfinite(each) else "null" for each in vector)
        made = f'{made[:-1]}{", " if fields else ""}"embedding": [{numbers}]}}'
    try:
        return f"{made}\n".encode()
    except UnicodeEncodeError:  # A lone surrogate: JSON needs an escape for it.
        return f"{json.dumps(json.loads(made))}\n".encode()


def kept(block: Block) -> Iterator[dict[str, Any]]:
    """The kept fields of each row as JSON values."""
    if isinstance(block.kept, list):
        yield from map(plain, block.kept)
    elif block.kept is None:
        yield from ({} for _ in block.texts)
    else:
        from .parquet import from_arrow

        names = block.kept.schema.names
        for at in range(len(block.texts)):
            yield {name: from_arrow(column[at]) for name, column in zip(names, block.kept.columns, strict=True)}


def plain(value: Any) -> Any:
    """A JSON value: NaN and infinity become null, bytes base64, times ISO 8601."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)
