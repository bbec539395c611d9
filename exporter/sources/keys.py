"""A check of every key of a checkpoint's settings: ``keys.toml`` lists keys as read, harmless or unsupported.

Without the check, exporter and reference could both ignore the same key, and the proof would find them equal.
"""

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import UnsupportedModel


@functools.cache
def table() -> dict[str, dict[str, Any]]:
    """Section of ``keys.toml`` -> key -> rule."""
    sections = tomllib.loads((resources.files(__package__) / "keys.toml").read_text(encoding="utf-8"))
    return {kind: {**sections.get(rules.pop("like", None), {}), **rules} for kind, rules in sections.items()}


def hold(kind: str, state: Mapping[str, Any], path: Path) -> list[str]:
    """Check settings against the table.

    Args:
        kind: a section of ``keys.toml``.
        state: the settings.
        path: their file, for errors.

    Returns:
        Notes for the user about keys that the table does not list.

    Raises:
        UnsupportedModel: a value that cannot be exported, or an unknown key in a section without unknown keys.
    """
    known = table()[kind]
    for key, value in state.items():
        rule = known.get(key)
        if rule is None:
            if known["*"] == "refuse":
                raise UnsupportedModel(
                    f"{path}: {key} is unknown (it is {value!r:.200}); expected {', '.join(list(known)[1:])}"
                )
        elif isinstance(rule, dict):
            # Not "in", because true equals 1.
            if value is not None and not any(type(value) is type(each) and value == each for each in rule["only"]):
                raise UnsupportedModel(f"{path}: {key} is {value!r:.200}: {rule['why']}")
        elif rule.startswith("unset: ") and value is not None and value is not False and value not in ("", [], {}):
            raise UnsupportedModel(f"{path}: {key} is {value!r:.200}: {rule.removeprefix('unset: ')}")
    unknown = sorted(set(state) - set(known))
    if known["*"] != "note" or not unknown:
        return []
    return [f"{path.name} has unknown keys, which were not read: {', '.join(unknown)}"]
