"""``rawbert bench``: throughput and latency of a server by number of callers."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ..client.client import Client
from ..errors import ServingError
from ..plurals import counted
from .chart import Panel, svg
from .connection import FILE, NEW_FILE, client_settings, connection_options, json_option, one_line
from .files.inputs import Inputs
from .files.source import Source
from .output import print_json, print_table
from .signature import signatures, vector_output

#: Default texts, of several lengths.
_TEXTS = [" ".join(["the quick brown fox jumps over the lazy dog"] * (1 + at % 7)) for at in range(64)]
_WIDTH = 40


@dataclass(frozen=True)
class Measured:
    """Results for one number of callers; latencies in milliseconds, of answered calls."""

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
@click.option("--signature", help="Signature that answers a vector.  [default: embed, else the model's default]")
@click.option("--output-name", help="Output of it.  [default: the one with a vector per text]")
@click.option("--callers", default="1,2,4,8,16", show_default=True, help="Numbers of concurrent callers to measure.")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Texts in each call.")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=5.0, show_default=True, help="For each number."
)
@click.option("--input", "-i", "source", type=FILE,
              help="File of texts to send, one per line.  [default: sentences of 9 to 63 words]")  # fmt: skip
@click.option("--chart", type=NEW_FILE, help="Also draw throughput and latency into this .svg file; it is replaced.")
@json_option
def bench(
    server: str | None,
    signature: str | None,
    output_name: str | None,
    callers: str,
    batch_size: int,
    seconds: float,
    source: Path | None,
    chart: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure the server at ADDRESS, or --address: throughput and latency by number of callers.

    Each caller sends its next call after the answer to the last one. Calls that a busy server refuses are sent again;
    their latency includes the retries. The first second of each measurement is not counted.

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
        raise click.ClickException(f"there is no folder {chart.parent}: create it first")
    settings["address"] = server or settings["address"]
    results: list[Measured] = []
    with one_line():
        texts = _TEXTS
        if source is not None:
            texts = list(Source(Inputs([str(source)], "text").open(source, stream=True)).texts())
        if not texts:
            raise click.ClickException(f"{source} contains no texts: give a file with one text per line")
        with Client(**client_settings(settings), max_batch_size=batch_size) as client:
            choice = vector_output(signatures(client), signature, output_name)

            def embed(part: list[str]) -> None:
                client.embed(part, **choice)

            embed(texts[:batch_size])
            heading = f"{client.model} at {client.address}, {counted(batch_size, 'text')} per call"
            try:
                with Console(stderr=True).status("") as status:
                    for number in numbers:
                        status.update(f"{number} callers ...")
                        results.append(_measure(embed, texts, batch_size, number, seconds))
            finally:
                if not as_json and results:
                    _show(heading, results)
    if chart is not None:
        _draw(chart, heading, results)
    if as_json:
        # JSON has no NaN, the value for no answered call.
        rows = [asdict(result) for result in results]
        print_json([{name: None if math.isnan(value) else value for name, value in row.items()} for row in rows])


def _measure(embed: Callable[[list[str]], None], texts: list[str], size: int, callers: int, seconds: float) -> Measured:
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
                embed(part)
            except ServingError:
                failed[caller] += 1
                continue
            now = time.monotonic()
            if begin <= begun and now <= end:
                taken[caller].append(now - begun)

    # Daemons, so that Ctrl-C does not wait for a call without an answer.
    threads = [threading.Thread(target=call, args=(caller,), daemon=True) for caller in range(callers)]
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
    percentiles = {"median": "p50", "90 % are faster": "p90", "99 % are faster": "p99"}
    panels = [
        Panel(
            "Throughput: higher is better",
            "texts per second",
            {"answered texts": [result.texts_per_second for result in results]},
        ),
        Panel(
            "Latency of a call: lower is better",
            "milliseconds",
            {name: [getattr(result, field) for result in results] for name, field in percentiles.items()},
        ),
    ]
    try:
        path.write_text(svg(heading, [result.callers for result in results], panels), encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from error


def _percentile(times: list[float], percent: int) -> float:
    """The percentile by the nearest rank."""
    return times[max(math.ceil(len(times) * percent / 100) - 1, 0)] if times else math.nan


def _show(heading: str, results: list[Measured]) -> None:
    """Print a table, and bars of texts per second and of the 99th percentile."""
    columns = ("callers", "calls/s", "texts/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "failed")
    rows = []
    for result in results:
        callers, *shown, failed = asdict(result).values()
        rows.append([str(callers), *(f"{each:.1f}" for each in shown), str(failed)])
    print_table(heading, columns, rows)
    width = min(_WIDTH, Console().width - 20)
    for title, field in (("texts/s", "texts_per_second"), ("p99 ms", "p99")):
        values = [getattr(result, field) for result in results]
        most = max((value for value in values if not math.isnan(value)), default=0.0) or 1.0
        click.echo(f"\n{title:>8}")
        for result, value in zip(results, values, strict=True):
            bar = "#" * (0 if math.isnan(value) else round(width * value / most))
            click.echo(f"{result.callers:>8} {bar} {value:.1f}")
