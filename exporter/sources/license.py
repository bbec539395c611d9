"""The licence that a checkpoint states: in the front matter of its README.md, else in a LICENSE file."""

from pathlib import Path
from typing import Any

_LONGEST = 100


def stated(folder: Path) -> dict[str, str] | None:
    """``{"name": ..., "file": ...}``; ``None`` where the checkpoint states no licence that can be read."""
    readme = folder / "README.md"
    for name in _front_matter(readme):
        return {"name": name, "file": readme.name}
    for path in sorted(folder.glob("LICENSE*")):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        first = next((line.strip() for line in lines if line.strip()), None)
        if first is not None:
            return {"name": first[:_LONGEST], "file": path.name}
    return None


def _front_matter(readme: Path) -> list[str]:
    if not readme.is_file():
        return []
    from huggingface_hub import metadata_load

    try:
        metadata: Any = metadata_load(readme) or {}
    # A README.md is prose for people: whatever is wrong with it is no reason against the model.
    except Exception:
        return []
    names = metadata.get("license_name") or metadata.get("license") if isinstance(metadata, dict) else None
    names = names if isinstance(names, list) else [names]
    return [", ".join(map(str, names))] if any(names) else []
