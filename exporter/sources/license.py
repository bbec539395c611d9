"""The licence that a checkpoint states: in the front matter of its README.md, else in a LICENSE file."""

import contextlib
from pathlib import Path
from typing import Any

_LONGEST = 100


def stated(folder: Path) -> dict[str, str] | None:
    """``{"name": ..., "file": ...}``; ``None`` if the checkpoint states no readable licence."""
    readme = folder / "README.md"
    metadata: Any = None
    if readme.is_file():
        from huggingface_hub import metadata_load

        # A README.md is prose for people: a fault in it must not stop the export.
        with contextlib.suppress(Exception):
            metadata = metadata_load(readme)
    if isinstance(metadata, dict):
        names = metadata.get("license_name") or metadata.get("license")
        names = names if isinstance(names, list) else [names]
        if any(names):
            return {"name": ", ".join(map(str, names)), "file": readme.name}
    for path in sorted(folder.glob("LICENSE*")):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        first = next((line.strip() for line in lines if line.strip()), None)
        if first is not None:
            return {"name": first[:_LONGEST], "file": path.name}
    return None
