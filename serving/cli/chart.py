"""The results of ``rawbert bench`` as a picture: SVG, which is text and needs no library."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _GAP = 440, 330, 24
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 40, 66, 50
_COLOURS = ("#1f6feb", "#d9730d", "#2f7d32")


@dataclass(frozen=True)
class Panel:
    """Lines in one pair of axes.

    Args:
        title: text above the axes.
        unit: unit of the values, shown next to the vertical axis.
        lines: name of a line, for the legend -> its value for each number of callers; NaN leaves a gap.
    """

    title: str
    unit: str
    lines: Mapping[str, Sequence[float]]


def svg(heading: str, callers: Sequence[int], panels: Sequence[Panel]) -> str:
    """Line charts side by side: values by number of callers.

    Args:
        heading: text above all panels.
        callers: numbers of concurrent callers, at equal distances on the horizontal axis.
        panels: the charts, from left to right.
    """
    width, height = len(panels) * (_WIDTH + _GAP) - _GAP, _HEIGHT + 36
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="16" y="26" font-size="16" font-weight="bold">{escape(heading)}</text>',
    ]
    for at, panel in enumerate(panels):
        parts.append(f'<g transform="translate({at * (_WIDTH + _GAP)},36)">')
        parts += _panel(panel, callers)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, callers: Sequence[int]) -> list[str]:
    largest = max((value for line in panel.lines.values() for value in line if not math.isnan(value)), default=0.0)
    step = _step(largest)
    most = max(1, math.ceil(largest / step))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    middle = (_TOP + bottom) / 2

    def x(at: int) -> float:
        return (_LEFT + right) / 2 if len(callers) == 1 else _LEFT + (right - _LEFT) * at / (len(callers) - 1)

    def y(value: float) -> float:
        return bottom - (bottom - _TOP) * value / (most * step)

    parts = [f'<text x="{_LEFT}" y="20" font-size="14">{escape(panel.title)}</text>']
    for tick in range(most + 1):
        at = y(tick * step)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick * step:g}</text>')
    for place, number in enumerate(callers):
        parts.append(f'<text x="{x(place):.1f}" y="{bottom + 18}" text-anchor="middle">{number}</text>')
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{bottom + 40}" text-anchor="middle">concurrent callers</text>')
    parts.append(
        f'<text transform="translate(18,{middle:g}) rotate(-90)" text-anchor="middle">{escape(panel.unit)}</text>'
    )
    legend = float(_LEFT)
    for number, (name, values) in enumerate(panel.lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [(x(place), y(value)) for place, value in enumerate(values) if not math.isnan(value)]
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across:.1f}" cy="{up:.1f}" r="3" fill="{colour}"/>' for across, up in points]
        if points:
            last = next(value for value in reversed(values) if not math.isnan(value))
            across, up = points[-1]
            parts.append(f'<text x="{across + 6:.1f}" y="{up + 4:.1f}" fill="{colour}">{last:.3g}</text>')
        parts.append(f'<path d="M{legend:g} 40h18" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{legend + 24:g}" y="44">{escape(name)}</text>')
        legend += 44 + 6.6 * len(name)
    return parts


def _step(most: float) -> float:
    """Distance of the ticks: 1, 2 or 5 times a power of ten, so that there are four to eight of them."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most / 4))
    return max(power * each for each in (1, 2, 5) if power * each <= most / 4)
