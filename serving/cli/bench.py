"""``rawbert bench``: throughput and latency of a server against the number of callers."""

import json
import math
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from ..client.client import Client
from ..errors import ServingError
from .chart import svg
from .connection import FILE, NEW_FILE, client_settings, connection_options, one_line
from .files.inputs import Inputs
from .files.source import Source

#: Texts of several lengths, where none are given.
_TEXTS = [" ".join(["the quick brown fox jumps over the lazy dog"] * (1 + at % 7)) for at in range(64)]
_WIDTH = 40


@dataclass(frozen=True)
class Measured:
    """What callers of one number saw; latencies in milliseconds, of calls that were answered."""

    callers: int
    calls_per_second: float
    texts_per_second: float
    p50: float
    p90: float
    p99: float
    longest: float
    failed: int


@click.command()
@click.argument("server", metavar="[ADDRESS]", required=False)
@connection_options
@click.option("--signature", default="embed", show_default=True, help="Signature that answers an embedding.")
@click.option("--callers", default="1,2,4,8,16", show_default=True, help="Numbers of callers at once, each measured.")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Texts in each call.")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=5.0, show_default=True, help="For each number."
)
@click.option("--input", "-i", "source", type=FILE,
              help="File with a text a line to send.  [default: sentences of 9 to 63 words]")  # fmt: skip
@click.option("--chart", type=NEW_FILE, help="Also draw throughput and latency into this .svg file; it is replaced.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(
    server: str | None,
    signature: str,
    callers: str,
    batch_size: int,
    seconds: float,
    source: Path | None,
    chart: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure the server at ADDRESS, or --address: throughput and latency against the number of callers.

    Each caller sends its next call when the last is answered. Calls that a busy server refuses are sent again, and
    count with all their time. The first second of each number is not counted.

    \b
    Example:
      rawbert bench localhost:8500 --model minilm --callers 1,8,32 --chart minilm.svg
    """
    try:
        numbers = [int(number) for number in callers.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise click.BadParameter(f"{callers!r}: give whole numbers with commas, such as 1,2,4", param_hint="--callers")
    if chart is not None and chart.suffix.lower() != ".svg":
        raise click.BadParameter(f"{chart.name}: the name must end in .svg", param_hint="--chart")
    if chart is not None and not chart.parent.is_dir():
        raise click.ClickException(f"there is no folder {chart.parent}: make it first")
    settings["address"] = server or settings["address"]
    results = []
    with one_line():
        texts = (
            list(Source(Inputs((str(source),), "text", source, stream=True)).texts()) if source is not None else _TEXTS
        )
        if not texts:
            raise click.ClickException(f"{source} holds no texts")
        with Client(**client_settings(settings), max_batch_size=batch_size) as client:
            client.embed(texts[:batch_size], signature_name=signature)
            if not as_json:
                click.echo(f"{'callers':>8}{'calls/s':>10}{'texts/s':>10}{'p50 ms':>10}{'p90 ms':>10}"
                           f"{'p99 ms':>10}{'max ms':>10}{'failed':>8}")  # fmt: skip
            for number in numbers:
                result = _measure(client, signature, texts, batch_size, number, seconds)
                results.append(result)
                if not as_json:
                    _, *shown, failed = asdict(result).values()
                    click.echo(f"{number:>8}{''.join(f'{each:>10.1f}' for each in shown)}{failed:>8}")
    if chart is not None:
        _draw(chart, f"{settings['model']} at {settings['address']}, {batch_size} texts a call", results)
    if as_json:
        # JSON has no NaN, which stands where no call was answered.
        rows = [asdict(result) for result in results]
        rows = [{name: None if math.isnan(value) else value for name, value in row.items()} for row in rows]
        click.echo(json.dumps(rows, indent=2))
    else:
        click.echo(f"\n{_chart(results)}")


def _measure(client: Client, signature: str, texts: list[str], size: int, callers: int, seconds: float) -> Measured:
    warm = min(1.0, seconds / 4)
    begin = time.monotonic() + warm
    end = begin + seconds
    stop = threading.Event()
    taken: list[list[float]] = [[] for _ in range(callers)]
    failed = [0] * callers

    def call(caller: int) -> None:
        at = caller * size
        while not stop.is_set() and (begun := time.monotonic()) < end:
            part = [texts[(at + place) % len(texts)] for place in range(size)]
            at += size * callers
            try:
                client.embed(part, signature_name=signature)
            except ServingError:
                failed[caller] += 1
                continue
            now = time.monotonic()
            if begin <= begun and now <= end:
                taken[caller].append(now - begun)

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        stop.set()
    times = sorted(1000 * each for part in taken for each in part)
    p50, p90, p99, longest = (_percentile(times, percent) for percent in (50, 90, 99, 100))
    rate = len(times) / seconds
    return Measured(callers, rate, rate * size, p50, p90, p99, longest, sum(failed))


def _draw(path: Path, heading: str, results: list[Measured]) -> None:
    panels = {
        "texts a second": {"texts/s": [result.texts_per_second for result in results]},
        "milliseconds": {name: [getattr(result, name) for result in results] for name in ("p50", "p90", "p99")},
    }
    try:
        path.write_text(svg(heading, [result.callers for result in results], panels), encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from error


def _percentile(times: list[float], percent: int) -> float:
    """By the nearest rank."""
    return times[max(math.ceil(len(times) * percent / 100) - 1, 0)] if times else math.nan


def _chart(results: list[Measured]) -> str:
    """Bars of texts a second and of the 99th percentile."""
    lines = []
    for title, field in (("texts/s", "texts_per_second"), ("p99 ms", "p99")):
        values = [getattr(result, field) for result in results]
        most = max((value for value in values if not math.isnan(value)), default=0.0) or 1.0
        lines.append(f"{title:>8}")
        for result, value in zip(results, values, strict=True):
            bar = "#" * (0 if math.isnan(value) else round(_WIDTH * value / most))
            lines.append(f"{result.callers:>8} {bar} {value:.1f}")
    return "\n".join(lines)
