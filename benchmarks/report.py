"""Tables of the results, as plain text and for the chart. No contestant is run here."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import peers, texts

__all__ = ["Row", "growth_text", "joined", "rows", "text"]


@dataclass(frozen=True)
class Row:
    """A contestant in a cell.

    Args:
        contestant: name/precision.
        rate: texts per second, median of the rounds; low and high are those of the slowest and the fastest round.
        call: milliseconds per call, median of the rounds' medians.
        to_best: speed divided by that of the best peer with the same precision, median over the rounds; for a peer,
            by that of the best other peer.
        to_recipe: the same for the canonical Hub recipe (float32, its only precision).
        of_limit: share of the GEMM limit of its precision.
    """

    contestant: str
    rate: float
    low: float
    high: float
    call: float
    to_best: float | None
    to_recipe: float | None
    of_limit: float | None


def _split(contestant: str) -> tuple[peers.Kind, str]:
    name, precision = contestant.split("/")
    return peers.ALL[name], precision


def rates(cell: dict[str, Any], contestant: str) -> list[float]:
    """Texts per second in each round."""
    return [count / seconds for count, seconds in zip(cell["texts"], cell["seconds"][contestant], strict=True)]


def ratio(cell: dict[str, Any], contestant: str, other: str | None) -> float | None:
    """Speed divided by another contestant's: median over the rounds, each with both runs close together."""
    if other is None or other not in cell["seconds"]:
        return None
    pairs = zip(rates(cell, contestant), rates(cell, other), strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)


def best_peer(cell: dict[str, Any], precision: str, without: str = "") -> str | None:
    """The fastest peer of a precision."""
    found = [
        each
        for each in cell["seconds"]
        if each != without and not (_split(each)[0].ours or _split(each)[0].limit) and _split(each)[1] == precision
    ]
    return max(found, key=lambda each: statistics.median(rates(cell, each)), default=None)


def rows(cell: dict[str, Any]) -> Iterator[Row]:
    """Rows of a cell, in the order in which contestants were named."""
    for contestant in cell["seconds"]:
        kind, precision = _split(contestant)
        each = rates(cell, contestant)
        yield Row(
            contestant,
            statistics.median(each),
            min(each),
            max(each),
            1e3 * statistics.median(cell["call_seconds"][contestant]),
            None if kind.limit else ratio(cell, contestant, best_peer(cell, precision, contestant)),
            None if kind.limit else ratio(cell, contestant, "hub-recipe/float32"),
            None if kind.limit else ratio(cell, contestant, f"gemm/{precision}"),
        )


def text(results: dict[str, Any]) -> str:
    """All tables, for a terminal."""
    machine = results["machine"]
    lines = [
        f"{machine['cpu']}; {', '.join(machine['flags']) or 'no flags for fast matrix products'}",
        f"{machine['threads']} threads of {machine['cores']} cores; {machine['system']}",
        ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
        "",
        "Smallest cosine and largest difference to sentence-transformers in float32, and seconds to load",
    ]
    for contestant, sets in results["agreement"].items():
        cosine = min(each["min_cosine"] for each in sets.values())
        difference = max(each["max_abs"] for each in sets.values())
        loaded = results["loaded"][contestant]
        lines.append(f"  {contestant:<34}{cosine:10.6f}{difference:10.1e}{loaded['seconds']:9.1f} s")
    for cell in results["cells"]:
        tokens = sum(cell["tokens"]) / sum(cell["texts"])
        size = f"{cell['size']} per call" if cell["size"] else "the whole set in one call"
        lines += [
            "",
            f"{cell['set']}, {size} (mean {tokens:.1f} tokens, {len(cell['texts'])} rounds)",
            f"  {'':<34}{'texts/s':>9}{'slowest':>9}{'fastest':>9}{'ms per call':>11}{'x best peer':>13}"
            f"{'x Hub recipe':>14}{'of GEMM limit':>15}",
        ]
        for row in rows(cell):
            ratios = (
                f"{row.to_best:.2f}" if row.to_best else "",
                f"{row.to_recipe:.2f}" if row.to_recipe else "",
                f"{row.of_limit:.0%}" if row.of_limit else "",
            )
            lines.append(
                f"  {row.contestant:<34}{row.rate:9.1f}{row.low:9.1f}{row.high:9.1f}{row.call:11.2f}"
                f"{ratios[0]:>13}{ratios[1]:>14}{ratios[2]:>15}"
            )
    if "growth" in results:
        lines.append(growth_text(results["growth"]))
    return "\n".join(lines)


def growth_text(grown: Sequence[dict[str, Any]]) -> str:
    """Tables for a terminal."""
    return "\n".join(line for each in grown for line in _growth_lines(each))


def _growth_lines(grown: dict[str, Any]) -> list[str]:
    weights, bare, export = grown["weights"], grown["tensorflow_rss"], grown["export"]
    ours, theirs = (f"{name}/{precision}" for name, precision in (each.split("/") for each in grown["loaded"]))
    points = {(each["contestant"], each["tokens"], each["size"]): each for each in grown["points"]}

    def weigh(size: float) -> str:
        return f"{size / 1e6:.0f} MB ({size / weights:.2f}x)"

    loaded = {name: each["rss"] for name, each in grown["loaded"].items()}
    lines = [
        "",
        f"{grown['shape']['name']}: weights {weights / 1e6:.0f} MB (1x); TensorFlow and one op {bare / 1e6:.0f} MB",
        f"  export {export['seconds']:.0f} s; above that, {weigh(export['peak_rss_of_one'] - bare)} in one process, "
        f"{weigh(export['peak_rss_of_all'] - bare)} in all",
        *(f"  {name}: loaded in {each['seconds']:.1f} s" for name, each in grown["loaded"].items()),
        f"  {ours} after loading: {weigh(loaded[ours] - bare)} above TensorFlow and one op",
        f"  {'tokens':>8}{'texts':>7}{'texts/s':>10}{'GFLOP/s':>9}{'memory':>10}{'activations':>13}{'allowed':>9}"
        f"{'x ' + theirs.split('/')[0]:>15}",
    ]
    for (contestant, tokens, size), point in sorted(points.items()):
        if contestant != ours:
            continue
        other = points[theirs, tokens, size]
        # The size of a batch's activations: the growth of ONNX Runtime's memory after loading.
        activations = max(other["peak_rss"] - loaded[theirs], 0)
        lines.append(
            f"  {tokens:8}{size:7}{size / point['seconds']:10.1f}{point['flops'] / point['seconds'] / 1e9:9.0f}"
            f"{(point['peak_rss'] - bare) / 1e6:8.0f} M{activations / 1e6:11.0f} M"
            f"{(2.5 * weights + 1.5 * activations) / 1e6:7.0f} M{other['seconds'] / point['seconds']:15.2f}"
        )
    for size in sorted({size for _, _, size in points}):
        short, long = points.get((ours, 128, size)), points.get((ours, 512, size))
        if short and long:
            predicted = short["seconds"] * long["flops"] / short["flops"]
            lines.append(f"  {size} x 512 tokens: {long['seconds'] / predicted:.2f}x what 128 tokens predict by FLOPs")
    return lines


def joined(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """The later results, completed by cells that only the earlier results of the same machine have."""
    cells = {(cell["set"], cell["size"]): cell for cell in earlier["cells"] + later["cells"]}
    agreement = dict(earlier["agreement"])
    for contestant, sets in later["agreement"].items():
        agreement[contestant] = agreement.get(contestant, {}) | sets
    return later | {
        "agreement": agreement,
        "loaded": earlier["loaded"] | later["loaded"],
        "cells": [cells[key] for key in sorted(cells, key=_order)],
    }


def _order(key: tuple[str, int]) -> tuple[int, int]:
    name, size = key
    return texts.SETS.index(name), size or sys.maxsize
