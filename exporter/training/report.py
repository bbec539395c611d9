"""report.json and report.html: the results of a run's best model on the validation rows."""

import html
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .. import scratch
from ..errors import OutputError, os_errors_as
from .answers import Answers

_WORST = 20
#: Maximum characters of a text on the page.
_LONGEST = 400
#: Side of pictures in pixels; maximum number of classes in a picture.
_SIDE, _MOST_CLASSES = 560, 60
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}svg text{font:11px system-ui,sans-serif}
.missed{background:#ffe08a}.wrong{outline:2px solid #c0392b}"""


def write(
    folder: Path,
    title: str,
    answers: Answers,
    scores: np.ndarray,
    measured: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> None:
    """Write report.json, report.html and predictions.jsonl.

    Args:
        folder: folder of the run.
        title: title of the page.
        answers: evaluation of the validation rows.
        scores: scores of these rows, float64 ``[rows or tokens, labels]``.
        measured: metrics of ``answers``.
        facts: facts about the run, for the page's first table.

    Raises:
        OutputError: a file cannot be written.
    """
    worst = answers.worst(scores, _WORST)
    page = _page(title, facts, measured, worst)
    lines = [json.dumps(row, ensure_ascii=False) for row in answers.predictions(scores)]
    with os_errors_as(OutputError, f"{folder}: the report cannot be written"):
        scratch.replace(folder / "predictions.jsonl", "".join(f"{line}\n" for line in lines))
        report = {"facts": facts, "metrics": measured, "worst": worst}
        scratch.replace(folder / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        scratch.replace(folder / "report.html", page)


def _page(title: str, facts: Mapping[str, Any], measured: Mapping[str, Any], worst: Sequence[Mapping[str, Any]]) -> str:
    numbers = [(name, f"{value:.4f}") for name, value in measured.items() if isinstance(value, float)]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _table(("", ""), list(facts.items())),
        "<h2>On the validation rows</h2>",
        _table(("metric", "value"), numbers),
    ]
    if classes := measured.get("classes"):
        rows = [
            (label, *(f"{each[name]:.3f}" for name in ("precision", "recall", "f1")), each["rows"])
            for label, each in classes.items()
        ]
        parts += ["<h2>Classes</h2>", _table(("class", "precision", "recall", "F1", "rows"), rows)]
    if entities := measured.get("entities"):
        rows = [
            (label, *(f"{each[name]:.3f}" for name in ("precision", "recall", "f1")), each["spans"])
            for label, each in entities.items()
        ]
        parts += ["<h2>Kinds of spans</h2>", _table(("label", "precision", "recall", "F1", "spans"), rows)]
    if "confusion" in measured:
        parts += [
            "<h2>Confusion matrix</h2>",
            _confusion(measured.get("tags") or list(measured["classes"]), measured["confusion"]),
        ]
    if "calibration" in measured:
        parts += [
            "<h2>Calibration</h2><p>The share of right answers by confidence; on the dashed line, confidences are "
            "probabilities.</p>",
            _calibration(measured["calibration"]),
        ]
    rows = [(each["at"], _text(each), _shown(each["label"]), _shown(each["answer"])) for each in worst]
    heads = ("row", "text", "missed", "found instead") if "entities" in measured else ("row", "text", "label", "answer")
    parts += ["<h2>Worst mistakes</h2>", _table(heads, rows) if rows else "<p>None.</p>"]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return "\n".join(["<!doctype html>", f'<html lang="en">{head}', *parts, "</html>", ""])


class _Html(str):
    """Text of a cell that is HTML already."""


def _text(mistake: Mapping[str, Any]) -> str:
    """The text of a mistake, with missed and wrong spans marked, and distant parts left out."""
    if "missed" not in mistake:
        return " ⏎ ".join(mistake["texts"])[:_LONGEST]
    (text,) = mistake["texts"]
    begin = max(0, min(start for start, _ in mistake["missed"] + mistake["wrong"]) - _LONGEST // 4)
    end = min(len(text), begin + _LONGEST)
    marks = [(kind, *place) for kind in ("missed", "wrong") for place in mistake[kind]]
    bounds = sorted({begin, end, *(at for _, *place in marks for at in place if begin < at < end)})
    parts = ["…" if begin else ""]
    for one, other in pairwise(bounds):
        kinds = " ".join(sorted({kind for kind, start, limit in marks if start <= one < limit}))
        inner = html.escape(text[one:other])
        parts.append(f'<span class="{kinds}">{inner}</span>' if kinds else inner)
    return _Html("".join([*parts, "…" if end < len(text) else ""]))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{label} {score:.2f}" for label, score in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(tag: str, cells: Sequence[Any]) -> str:
        made = (
            f"<{tag}{' class=n' if _is_number(cell) else ''}>"
            f"{cell if isinstance(cell, _Html) else html.escape(str(cell))}</{tag}>"
            for cell in cells
        )
        return f"<tr>{''.join(made)}</tr>"

    head = line("th", columns) if any(columns) else ""
    return f"<table>{head}{''.join(line('td', row) for row in rows)}</table>"


def _is_number(cell: Any) -> bool:
    return str(cell).replace(".", "", 1).lstrip("-").isdigit()


def _confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A picture of the confusion matrix: a row per true class, a column per answer, darker for a larger share."""
    if len(labels) > _MOST_CLASSES:
        return f"<p>{len(labels)} classes are too many for a picture; report.json has the numbers.</p>"
    cell, margin = max(14, min(46, _SIDE // len(labels))), 130
    side = cell * len(labels)
    drawn = []
    for at, (label, row) in enumerate(zip(labels, counts, strict=True)):
        name, middle = html.escape(label[:18]), at * cell + cell // 2 + 4
        drawn.append(f'<text x="{margin - 6}" y="{margin + middle}" text-anchor="end">{name}</text>')
        drawn.append(f'<text transform="translate({margin + middle},{margin - 6}) rotate(-60)">{name}</text>')
        for column, count in enumerate(row):
            x, y, share = margin + column * cell, margin + at * cell, count / max(1, sum(row))
            said = f"{label} answered as {labels[column]}: {count}"
            drawn.append(
                f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" fill="#1f4e8c" fill-opacity="{share:.3f}" '
                f'stroke="#ddd"><title>{html.escape(said)}</title></rect>'
            )
            if count and cell >= 22:
                ink = "#fff" if share > 0.5 else "#222"
                place = f'x="{x + cell / 2}" y="{y + cell / 2 + 4}"'
                drawn.append(f'<text {place} text-anchor="middle" fill="{ink}">{count}</text>')
    picture = f'<svg width="{margin + side + 60}" height="{margin + side + 10}" role="img">{"".join(drawn)}</svg>'
    return f"{picture}<p>Rows: the label. Columns: the answer.</p>"


def _calibration(bins: Sequence[Mapping[str, Any]]) -> str:
    side, margin = 300, 40
    most = max(each["rows"] for each in bins)
    drawn = [
        f'<rect x="{margin}" y="10" width="{side}" height="{side}" fill="none" stroke="#999"/>',
        f'<line x1="{margin}" y1="{side + 10}" x2="{margin + side}" y2="10" stroke="#999" stroke-dasharray="4"/>',
        f'<text x="{margin + side / 2}" y="{side + 34}" text-anchor="middle">confidence</text>',
        f'<text transform="translate(14,{side / 2 + 10}) rotate(-90)" text-anchor="middle">right</text>',
    ]
    for each in bins:
        x, y = margin + each["confidence"] * side, 10 + (1 - each["right"]) * side
        radius = 3 + 9 * (each["rows"] / most) ** 0.5
        said = f"{each['rows']} rows: confidence {each['confidence']:.3f}, right {each['right']:.3f}"
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="#1f4e8c" fill-opacity=".7">'
            f"<title>{said}</title></circle>"
        )
    return f'<svg width="{margin + side + 20}" height="{side + 44}" role="img">{"".join(drawn)}</svg>'
