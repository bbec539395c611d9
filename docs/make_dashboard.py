"""Draw the panels of the dashboard: ``python docs/make_dashboard.py localhost:9090 150 > docs/images/dashboard.svg``.

Asks a Prometheus that scrapes the stack the queries of deploy/grafana/dashboards/rawbert.json, over the last seconds,
and draws each panel at its place. It is no picture of Grafana, which is not needed for it. Panels without data are left
out.
"""

import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from html import escape
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards" / "rawbert.json"
COLUMN, LINE, GAP = 50, 26, 8
COLOURS = ("#3274d9", "#e0752d", "#3f9142", "#a352cc", "#c4162a", "#8f7a00")
NOTE = "Drawn by docs/make_dashboard.py from Prometheus' answers to the queries of the dashboard. Grafana was not run."


def asked(address: str, query: str, seconds: int) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
    """Labels and points (time, value) of each series."""
    query = query.replace("$__rate_interval", "15s").replace("$model", ".*")
    now = time.time()
    parameters = urllib.parse.urlencode({"query": query, "start": now - seconds, "end": now, "step": 1})
    with urllib.request.urlopen(f"http://{address}/api/v1/query_range?{parameters}") as answer:
        found = json.load(answer)["data"]["result"]
    return [
        (series["metric"], [(at, float(value)) for at, value in series["values"] if math.isfinite(float(value))])
        for series in found
    ]


def shown(value: float, unit: str) -> str:
    """A value with its unit, as short as it can be read."""
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 or not value else f"{value * 1e3:.3g} ms"
    return f"{value:.3g}{'/s' if unit == 'reqps' else ''}"


def legend(template: str, labels: dict[str, str]) -> str:
    """As Grafana fills in ``{{label}}``."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), template).strip()


def drawn(
    panel: dict[str, Any], series: list[tuple[str, list[tuple[float, float]]]], place: dict[str, int]
) -> list[str]:
    """A panel of lines over time, or a table of the last values."""
    x, y = place["x"] * COLUMN, place["y"] * LINE
    width, height = place["w"] * COLUMN - GAP, place["h"] * LINE - GAP
    unit = panel["fieldConfig"]["defaults"]["unit"]
    parts = [
        f'<g transform="translate({x},{y})"><rect width="{width}" height="{height}" fill="#fff" stroke="#d5d8de"/>',
        f'<text x="10" y="19" font-weight="600">{escape(panel["title"])}</text>',
    ]
    if panel["type"] == "table":
        for at, (name, points) in enumerate(series):
            parts.append(f'<text x="10" y="{48 + at * 18}">{escape(name)}: {points[-1][1]:g}</text>')
        return [*parts, "</g>"]
    left, top, right, bottom = 62, 32, width - 12, height - 44
    times = [at for _, points in series for at, _ in points]
    first, last = min(times), max(times)
    most = max(value for _, points in series for _, value in points) or 1.0
    for share in (0, 0.5, 1):
        at = bottom - share * (bottom - top)
        parts.append(f'<path d="M{left} {at:.1f}H{right}" stroke="#e6e8eb"/>')
        parts.append(
            f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end" fill="#555">{shown(most * share, unit)}</text>'
        )
    for number, (_, points) in enumerate(series):
        corners = " ".join(
            f"{left + (at - first) / ((last - first) or 1) * (right - left):.1f},"
            f"{bottom - value / most * (bottom - top):.1f}"
            for at, value in points
        )
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    parts.append(f'<text x="{left}" y="{bottom + 15}" fill="#555">0</text>')
    parts.append(f'<text x="{right}" y="{bottom + 15}" text-anchor="end" fill="#555">{last - first:.0f} s</text>')
    at = 10.0
    for number, (name, _) in enumerate(series):
        if at + len(name) * 6.8 + 22 > width:
            parts.append(f'<text x="{at:.0f}" y="{height - 9}">...</text>')
            break
        parts.append(
            f'<rect x="{at:.0f}" y="{height - 16}" width="10" height="4" fill="{COLOURS[number % len(COLOURS)]}"/>'
        )
        parts.append(f'<text x="{at + 14:.0f}" y="{height - 9}">{escape(name)}</text>')
        at += len(name) * 6.8 + 30
    return [*parts, "</g>"]


def main(address: str, seconds: int) -> None:
    """Print the drawing.

    Raises:
        SystemExit: no panel has data.
    """
    parts, row, lowest, wanted = [], None, 0, json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    for panel in wanted:
        if panel["type"] == "row":
            row = panel
            continue
        series = [
            (legend(target["legendFormat"], labels) or ", ".join(labels.values()), points)
            for target in panel["targets"]
            for labels, points in asked(address, target["expr"], seconds)
            if points
        ]
        if not series:
            continue
        if row is not None:
            at, title = row["gridPos"]["y"] * LINE + 18, escape(row["title"])
            parts.append(f'<text x="2" y="{at}" font-weight="600" fill="#333">{title}</text>')
            row = None
        parts += drawn(panel, series, panel["gridPos"])
        lowest = max(lowest, (panel["gridPos"]["y"] + panel["gridPos"]["h"]) * LINE)
    if not parts:
        raise SystemExit(f"the Prometheus at {address} has no data for any panel")
    width, height = 24 * COLUMN + 20, lowest + 40
    style = 'font-family="sans-serif" font-size="12" fill="#1f2329"'
    parts.append(f'<text x="2" y="{lowest + 18}" fill="#555">{escape(NOTE)}</text>')
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {style}>'
        f'<rect width="{width}" height="{height}" fill="#f4f5f7"/><g transform="translate(14,6)">'
        f"{''.join(parts)}</g></svg>"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
