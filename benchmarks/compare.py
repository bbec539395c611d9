"""The comparison: contestants take turns on the same texts, in cells (a set of texts, a number of texts per call)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from . import machine, peers, texts
from .flops import MINILM
from .peers import Setup
from .worker import Failed, Worker, prepare

__all__ = ["WHOLE", "Plan", "compare"]

#: In place of a number of texts per call: all texts of the set in one call.
WHOLE = 0

#: Smallest cosine and largest absolute difference between a contestant and sentence-transformers in float32. For
#: bfloat16, with its 8 bits, the limits only show that it is the same model; the report contains the differences.
_AGREEMENT = {"float32": (0.99999, 1e-4), "bfloat16": (0.99, 0.05)}
_REFERENCE = "sentence-transformers"


@dataclass(frozen=True)
class Plan:
    """The measurements to make.

    Args:
        contestants: names of :data:`.peers.ALL`.
        precisions: of ``float32`` and ``bfloat16``.
        sets: of :data:`.texts.SETS`.
        sizes: numbers of texts per call; :data:`WHOLE` for all of them.
        rounds: number of turns of each contestant.
        texts: minimum number of texts in a turn with 8 or more texts per call, an eighth of it with one text per call;
            also the number of texts of each set to compare with the reference.
    """

    contestants: tuple[str, ...] = tuple(peers.ALL)
    precisions: tuple[str, ...] = ("float32", "bfloat16")
    sets: tuple[str, ...] = texts.SETS
    sizes: tuple[int, ...] = (1, 8, 32, 128, WHOLE)
    rounds: int = 5
    texts: int = 128


@dataclass
class Cell:
    """Figures of one set of texts and one number of texts per call.

    All fields have one value per round. ``texts``, ``tokens`` and ``flops`` are sums over the calls of the round. For
    each contestant (name/precision), ``seconds`` is the sum over the calls, and ``call_seconds`` their median.
    """

    set: str
    size: int
    texts: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    flops: list[int] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    call_seconds: dict[str, list[float]] = field(default_factory=dict)


def compare(plan: Plan, setup: Setup, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Prepare, load, check that all contestants agree, measure.

    Args:
        plan: what to measure.
        setup: settings of the contestants; the plan's precisions replace its own.
        say: called with a line for people at each step.

    Yields:
        After each cell all results so far, as JSON values; see :mod:`.report`.

    Raises:
        Failed: a contestant failed, or its embeddings differ from the reference's.
    """
    chosen = [
        (name, precision)
        for name in plan.contestants
        for precision in plan.precisions
        if precision in peers.ALL[name].precisions
    ]
    setups = {precision: Setup(**{**asdict(setup), "precision": precision}) for precision in plan.precisions}
    sets = {name: texts.load(name, setup.source) for name in plan.sets}
    workers: list[Worker] = []
    try:
        for name, precision in chosen:
            say(f"preparing {name}/{precision}")
            prepare(name, setups[precision])
        compared = {name: each.texts[: plan.texts] for name, each in sets.items()}
        references = _references(compared, setup, say)
        agreement = {}
        for name, precision in chosen:
            say(f"loading {name}/{precision}")
            worker = Worker(name, setups[precision])
            workers.append(worker)
            if not peers.ALL[name].limit:
                agreement[worker.title] = _agreement(worker, compared, references)
        cells: list[dict[str, Any]] = []
        for set_name in plan.sets:
            for size in plan.sizes:
                say(f"measuring {set_name}, {size or 'all'} per call")
                cells.append(asdict(_cell(plan, set_name, sets[set_name], size, workers)))
                yield {
                    "machine": machine.describe(setup.threads),
                    "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "model": asdict(MINILM),
                    "max_tokens": setup.max_tokens,
                    "batch_of_peers": setup.batch,
                    "loaded": {each.title: asdict(each.loaded) for each in workers},
                    "agreement": agreement,
                    "cells": cells,
                }
    finally:
        for worker in workers:
            worker.close()


def _cell(plan: Plan, name: str, source: texts.Texts, size: int, workers: Sequence[Worker]) -> Cell:
    cell = Cell(name, size)
    count = plan.texts if size != 1 else plan.texts // 8
    for turn in range(plan.rounds):
        calls = [source.texts] if size == WHOLE else source.calls(min(size, len(source.texts)), count, turn)
        # A few texts that are not measured, which bring all weights and code back into the caches.
        warm = source.calls(min(size or 8, 8), 8, 1000 + turn)[:3]
        lengths = [length for call in source.lengths(calls) for length in call]
        cell.texts.append(len(lengths))
        cell.tokens.append(sum(lengths))
        cell.flops.append(MINILM.total(lengths))
        # Rotate the order, so that no contestant always runs after the longest pause.
        for worker in [*workers[turn % len(workers) :], *workers[: turn % len(workers)]]:
            seconds = worker.measure(calls, warm).seconds
            cell.seconds.setdefault(worker.title, []).append(round(sum(seconds), 6))
            cell.call_seconds.setdefault(worker.title, []).append(round(statistics.median(seconds), 6))
    return cell


def _references(sets: dict[str, list[str]], setup: Setup, say: Callable[[str], None]) -> dict[str, np.ndarray]:
    """Embeddings of texts of every set by the reference, float32 ``[texts, H]``."""
    say(f"reference embeddings by {_REFERENCE}")
    reference = Worker(_REFERENCE, Setup(**{**asdict(setup), "precision": "float32"}))
    try:
        return {name: reference.embed(each) for name, each in sets.items()}
    finally:
        reference.close()


def _agreement(
    worker: Worker, sets: dict[str, list[str]], references: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Smallest cosine and largest absolute difference to the reference, over the texts of each set."""
    found = {}
    least, most = _AGREEMENT[worker.precision]
    for name, compared in sets.items():
        parts = [worker.embed(compared[first : first + 32]) for first in range(0, len(compared), 32)]
        vectors, reference = np.concatenate(parts).astype(np.float64), references[name].astype(np.float64)
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
        cosine = float((np.sum(vectors * reference, axis=1) / norms).min())
        difference = float(np.abs(vectors - reference).max())
        # Written so that NaN fails.
        if not (cosine >= least and difference <= most):
            raise Failed(
                f"{worker.title} does not agree with {_REFERENCE} on {name}: smallest cosine "
                f"{cosine:.6f}, largest difference {difference:.2e}"
            )
        found[name] = {"min_cosine": cosine, "max_abs": difference}
    return found
