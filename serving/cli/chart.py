"""What ``rawbert bench`` measured, as a picture: SVG, which is text and needs no library."""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _GAP = 420, 260, 20
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 44, 44
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c")


def svg(heading: str, callers: Sequence[int], panels: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Line charts side by side, each value against the number of callers.

    Args:
        heading: stands above all.
        callers: numbers of callers at once; each gets the same room.
        panels: unit -> name of a line -> its value for each number of callers; NaN leaves a gap.
    """
    width, height = len(panels) * (_WIDTH + _GAP) - _GAP, _HEIGHT + 28
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14">{escape(heading)}</text>',
    ]
    for at, (unit, lines) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({at * (_WIDTH + _GAP)},28)">')
        parts += _panel(unit, callers, lines)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(unit: str, callers: Sequence[int], lines: Mapping[str, Sequence[float]]) -> list[str]:
    largest = max((value for line in lines.values() for value in line if not math.isnan(value)), default=0.0)
    step = _step(largest)
    most = max(1, math.ceil(largest / step))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(at: int) -> float:
        return (_LEFT + right) / 2 if len(callers) == 1 else _LEFT + (right - _LEFT) * at / (len(callers) - 1)

    def y(value: float) -> float:
        return bottom - (bottom - _TOP) * value / (most * step)

    parts = []
    for tick in range(most + 1):
        at = y(tick * step)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick * step:g}</text>')
    for place, number in enumerate(callers):
        parts.append(f'<text x="{x(place):.1f}" y="{bottom + 16}" text-anchor="middle">{number}</text>')
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{bottom + 34}" text-anchor="middle">callers at once</text>')
    parts.append(f'<text x="{_LEFT}" y="14" font-weight="bold">{escape(unit)}</text>')
    for number, (name, values) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [(x(place), y(value)) for place, value in enumerate(values) if not math.isnan(value)]
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across:.1f}" cy="{up:.1f}" r="3" fill="{colour}"/>' for across, up in points]
        parts.append(f'<text x="{_LEFT + 60 * number}" y="32" fill="{colour}">{escape(name)}</text>')
    return parts


def _step(most: float) -> float:
    """Distance of the ticks: 1, 2 or 5 times a power of ten, four to eight of them."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most / 4))
    return max(power * each for each in (1, 2, 5) if power * each <= most / 4)
