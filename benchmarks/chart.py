"""The chart of a comparison: texts a second of each contestant, a panel for each cell, on white so that it can be read
whatever the page around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import peers, report

__all__ = ["draw"]

_COLOURS = {True: {"float32": "#1f6feb", "bfloat16": "#79b0ff"}, False: {"float32": "#8c8c8c", "bfloat16": "#c4c4c4"}}
_LIMIT = "#d1242f"


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the chart as SVG.

    Args:
        results: what :func:`.compare.compare` returned.
        path: file to write.
    """
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, and the same figures make the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rawbert", "font.size": 8})
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    cells = results["cells"]
    sets = list(dict.fromkeys(cell["set"] for cell in cells))
    sizes = list(dict.fromkeys(cell["size"] for cell in cells))
    names = [name for name in peers.ALL if any(each.startswith(f"{name}/") for each in cells[0]["seconds"])]
    names = [name for name in names if not peers.ALL[name].limit]
    figure, axes = pyplot.subplots(
        len(sets), len(sizes), squeeze=False, sharey=True, layout="constrained",
        figsize=(2.4 + 2.1 * len(sizes), 0.9 + 0.3 * len(names) * len(sets)),
    )  # fmt: skip
    for row, set_name in enumerate(sets):
        for column, size in enumerate(sizes):
            found = [cell for cell in cells if (cell["set"], cell["size"]) == (set_name, size)]
            axis = axes[row][column]
            axis.set_visible(bool(found))
            for cell in found:
                _panel(axis, cell, names)
    machine = results["machine"]
    legend = [
        Patch(color=_COLOURS[ours][precision], label=f"{'rawbert' if ours else 'peers'}, {precision}")
        for ours in (True, False)
        for precision in ("float32", "bfloat16")
        if any(each.endswith(precision) for each in cells[0]["seconds"])
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(
        f"all-MiniLM-L6-v2, texts a second, {machine['threads']} threads, {machine['cpu']}; "
        "red: what the dense layers' products alone allow",
        fontsize=9,
    )
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _panel(axis: Any, cell: dict[str, Any], names: list[str]) -> None:
    for row in report.rows(cell):
        name, precision = row.contestant.split("/")
        if peers.ALL[name].limit:
            axis.axvline(row.rate, color=_LIMIT, linewidth=0.9, linestyle="-" if precision == "float32" else ":")
            continue
        at = names.index(name) + (0.19 if precision == "bfloat16" else -0.19)
        axis.barh(at, row.rate, height=0.36, color=_COLOURS[peers.ALL[name].ours][precision])
        axis.text(row.rate, at, f" {row.rate:.0f}", va="center", fontsize=6)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_title(f"{cell['set']}, {cell['size'] or 'all'} a call", fontsize=8)
    axis.set_xticks([])
    axis.margins(x=0.18)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
