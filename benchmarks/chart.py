"""Three figures of a comparison, on white so that they can be read on any page: texts per second, latency of one text,
and every cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import peers, report

__all__ = ["FIGURES", "draw"]

#: Endings of the figures' names, in the order of the functions in :func:`draw`.
FIGURES = ("", "-latency", "-all")
_BARS = {
    (True, "float32"): "#0b4fb3",
    (True, "bfloat16"): "#6ea8fe",
    (False, "float32"): "#7a7a7a",
    (False, "bfloat16"): "#bdbdbd",
}
_LIMIT = "#d1242f"
_HEIGHT = 0.36
#: Variants of a contestant, which only the figure of all cells contains.
_SHORT = ("rawbert-hub", "onnxruntime-fused")
_SETS = {"mixed": "mixed texts of 5 to 128 tokens", "short": "texts of about 8 tokens", "full": "texts of 128 tokens"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the figures as SVG: ``path``, and next to it files whose names end in ``-latency`` and ``-all``.

    Args:
        results: results of :func:`.compare.compare`.
        path: file to write, such as ``results.svg``.
    """
    import matplotlib

    matplotlib.use("svg")
    # Text is not converted to paths, and the same results always give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rawbert", "font.size": 10})
    from matplotlib import pyplot

    for ending, figure in zip(FIGURES, (_speed(results), _latency(results), _all(results)), strict=True):
        if figure is not None:
            figure.savefig(path.with_name(f"{path.stem}{ending}.svg"), metadata={"Date": None}, facecolor="white")
            pyplot.close(figure)


def _speed(results: dict[str, Any]) -> Any:
    """Texts per second of mixed texts, 32 per call; ``None`` if that was not measured."""
    cell = _cell(results, "mixed", 32)
    if cell is None:
        return None
    figure, (axis,) = _figure(
        results, 1, "Texts per second: higher is better", "mixed English texts, 32 texts per call"
    )
    _bars(axis, cell, _names(cell, _SHORT), lambda row: row.rate, "{:.0f}")
    axis.set_xlabel("texts per second")
    return figure


def _latency(results: dict[str, Any]) -> Any:
    """Milliseconds of a call with one text; ``None`` if that was not measured."""
    cells = [cell for name in ("short", "mixed") if (cell := _cell(results, name, 1))]
    if not cells:
        return None
    figure, axes = _figure(results, len(cells), "Milliseconds for one text: lower is better", "one text per call")
    for axis, cell in zip(axes, cells, strict=True):
        _bars(axis, cell, _names(cell, _SHORT), lambda row: row.call, "{:.1f}")
        axis.set_title(_SETS[cell["set"]], fontsize=11, fontweight="bold", loc="left")
    axes[-1].set_xlabel("milliseconds per call (median)")
    figure.get_layout_engine().set(hspace=0.06)
    return figure


def _all(results: dict[str, Any]) -> Any:
    """Every cell: a row of panels for each set of texts, with one scale for the row."""
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    cells = results["cells"]
    sets = list(dict.fromkeys(cell["set"] for cell in cells))
    sizes = list(dict.fromkeys(cell["size"] for cell in cells))
    names = _names(cells[0])
    figure, axes = pyplot.subplots(
        len(sets), len(sizes), squeeze=False, sharey=True, sharex="row", layout="constrained",
        figsize=(3.4 + 2.3 * len(sizes), 1.4 + 0.42 * len(names) * len(sets)),
    )  # fmt: skip
    for across, set_name in zip(axes, sets, strict=True):
        for axis, size in zip(across, sizes, strict=True):
            cell = _cell(results, set_name, size)
            axis.set_visible(cell is not None)
            if cell is None:
                continue
            _bars(axis, cell, names, lambda row: row.rate, "{:.0f}", small=True)
            for row in report.rows(cell):
                name, precision = row.contestant.split("/")
                if peers.ALL[name].limit:
                    axis.axvline(row.rate, color=_LIMIT, linewidth=1, linestyle="-" if precision == "float32" else ":")
            calls = (
                "all texts in one call" if not size else "1 text per call" if size == 1 else f"{size} texts per call"
            )
            axis.set_title(calls, fontsize=9)
            axis.tick_params(labelsize=8)
            axis.set_xlabel("texts per second", fontsize=8)
        across[0].set_ylabel(_SETS[set_name], fontsize=10, fontweight="bold")
    marks = _patches(cells[0], names)
    marks += [
        Line2D([], [], color="black", linewidth=1, label="slowest and fastest round"),
        Line2D([], [], color=_LIMIT, label="limit in float32: the products of the dense layers alone, in TensorFlow"),
        Line2D([], [], color=_LIMIT, linestyle=":", label="the same limit in bfloat16"),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(f"Texts per second, higher is better. {_machine(results)}. Each row has one scale.", fontsize=11)
    return figure


def _cell(results: dict[str, Any], set_name: str, size: int) -> dict[str, Any] | None:
    return next((cell for cell in results["cells"] if (cell["set"], cell["size"]) == (set_name, size)), None)


def _names(cell: dict[str, Any], without: tuple[str, ...] = ()) -> list[str]:
    """The contestants of a cell in the order of the table, except the limit."""
    measured = {contestant.split("/")[0] for contestant in cell["seconds"]}
    return [name for name, kind in peers.ALL.items() if name in measured and not kind.limit and name not in without]


def _figure(results: dict[str, Any], panels: int, heading: str, calls: str) -> tuple[Any, Any]:
    """A figure with panels one below the other, on one scale."""
    from matplotlib import pyplot

    first = results["cells"][0]
    names = _names(first, _SHORT)
    figure, axes = pyplot.subplots(
        panels,
        1,
        squeeze=False,
        sharex=True,
        layout="constrained",
        figsize=(8.4, 1.2 + (0.7 + 0.42 * len(names)) * panels),
    )
    figure.suptitle(heading, fontsize=14, fontweight="bold", x=0.01, ha="left")
    figure.supxlabel(f"{_machine(results)}; {calls}", fontsize=9, color="#555555")
    axes[0][0].legend(handles=_patches(first, names), loc="lower right", frameon=False)
    return figure, [row[0] for row in axes]


def _patches(cell: dict[str, Any], names: list[str]) -> list[Any]:
    """Legend of the bars' colours."""
    from matplotlib.patches import Patch

    there = {(peers.ALL[name].ours, precision) for name in names for precision in _precisions(cell, name)}
    return [
        Patch(color=colour, label=f"{'rawbert' if ours else 'others'}, {precision}")
        for (ours, precision), colour in _BARS.items()
        if (ours, precision) in there
    ]


def _precisions(cell: dict[str, Any], name: str) -> list[str]:
    return [each.split("/")[1] for each in cell["seconds"] if each.split("/")[0] == name]


def _bars(axis: Any, cell: dict[str, Any], names: list[str], value: Any, form: str, small: bool = False) -> None:
    """Bars of the contestants, from top to bottom, with their values; small ones with the range of the rounds."""
    for row in report.rows(cell):
        name, precision = row.contestant.split("/")
        if name not in names:
            continue
        both = len(_precisions(cell, name)) > 1
        at = names.index(name) + ((0.19 if precision == "bfloat16" else -0.19) if both else 0)
        length = value(row)
        axis.barh(at, length, height=_HEIGHT, color=_BARS[peers.ALL[name].ours, precision])
        if small:
            axis.plot([row.low, row.high], [at, at], color="black", linewidth=0.8)
        end = max(length, row.high) if small else length
        axis.annotate(
            form.format(length), (end, at), (3, 0), textcoords="offset points", va="center", fontsize=7 if small else 9
        )
    axis.set_yticks(range(len(names)), [peers.ALL[name].title for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.margins(x=0.18 if small else 0.08)
    axis.grid(axis="x", color="#e3e3e3", linewidth=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    return f"all-MiniLM-L6-v2, {machine['threads']} threads of {machine['cpu']}"
