"""The gate: a written SavedModel, loaded from disk by a fresh process, against the reference.

``python -m rawbert.exporter.proof TASK REPORT`` is that process. Every signature is run on the texts of
:mod:`.samples`, alone and in batches of several sizes, because each takes other branches of the graph. Every output of
every text is compared: tokens, offsets and counts for equality, vectors within the tolerance. Nothing is published that
was not found equal here.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import scratch
from ..errors import VerificationError
from ..recipe import TOLERANCES, Recipe
from . import answers, precision, samples
from .answers import Expected
from .comparison import Comparison, Figures
from .model import Model, SavedModel


@dataclass(frozen=True)
class Task:
    """What a process is to compare with what.

    Args:
        saved_model: folder of the SavedModel.
        recipe: what it was made by.
        source: folder of the checkpoint that it was made from; ``None`` compares with the answers kept in the version.
        float32: folder of the same graph in float32, for a SavedModel of a lower precision.
        record: keep the reference's answers in the SavedModel's folder, if everything is equal.
    """

    saved_model: Path
    recipe: Recipe
    source: Path | None = None
    float32: Path | None = None
    record: bool = False


@dataclass
class Report:
    """Outcome of a comparison; ``mismatches`` is empty where everything is equal.

    Attributes:
        texts: different texts or pairs that were compared.
        tokens: of these texts.
        calls: of signatures, with one text or several.
        least_texts, least_tokens: fewer would be no proof.
        tolerance, min_cosine: what was allowed.
        outputs: how close each vector came.
        mismatches: a line for each difference.
        float32: of the same graph in float32, where the SavedModel has a lower precision.
    """

    texts: int = 0
    tokens: int = 0
    calls: int = 0
    least_texts: int = 0
    least_tokens: int = 0
    tolerance: float = 0.0
    min_cosine: float = 0.0
    outputs: dict[str, Figures] = field(default_factory=dict)
    mismatches: list[str] = field(default_factory=list)
    float32: Report | None = None

    def figures(self) -> dict[str, Any]:
        """All but the mismatches, as JSON knows it."""
        return {key: value for key, value in asdict(self).items() if key != "mismatches"}


def prove(task: Task) -> Report:
    """Compare in a fresh process.

    Raises:
        VerificationError: an output differs, or the comparison could not be made.
    """
    report = run(task)
    require(report)
    return report


def run(task: Task) -> Report:
    """As :func:`prove`; what differs is only in the report.

    Raises:
        VerificationError: the comparison could not be made.
    """
    with scratch.temporary() as folder:
        # Only these two processes read and write the files.
        task_file, report_file = folder / "task", folder / "report"
        task_file.write_bytes(pickle.dumps(task))
        # -P: a folder named like one of our imports in the caller's working directory is not picked up.
        command = [sys.executable, "-P", "-m", __package__, os.fspath(task_file), os.fspath(report_file)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
        if done.returncode != 0 or not report_file.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise VerificationError(
                f"the written SavedModel could not be verified (exit status {done.returncode}): {last}"
            )
        report: Report = pickle.loads(report_file.read_bytes())
        return report


def require(report: Report) -> None:
    """Raise :class:`VerificationError` where a report has mismatches."""
    if report.mismatches:
        shown = "".join(f"\n  - {line}" for line in report.mismatches[:10])
        more = len(report.mismatches) - 10
        raise VerificationError(
            f"the exported model differs from its reference in {len(report.mismatches)} places; "
            f"nothing was published{shown}" + (f"\n  - and {more} more" if more > 0 else ""),
            tuple(report.mismatches),
        )


def compare(task: Task) -> Report:
    """Compare in this process; see :func:`prove`."""
    record = task.saved_model / answers.FILE
    expected = answers.read(record) if task.source is None else answers.compute(task.recipe, task.source)
    twin = None
    if task.float32 is not None:
        tolerance, min_cosine = TOLERANCES["float32"]
        exact = replace(task.recipe, precision="float32", tolerance=tolerance, min_cosine=min_cosine)
        twin = _hold(task.float32, exact, expected)
        if twin.mismatches:
            return replace(twin, mismatches=[f"in float32, {line}" for line in twin.mismatches])
    report = _hold(task.saved_model, task.recipe, expected)
    report.float32 = twin
    if task.float32 is not None:
        report.mismatches += precision.differences(task.saved_model, task.float32)
    if task.record and not report.mismatches:
        answers.write(record, expected, task.recipe.signatures)
    return report


def _hold(folder: Path, recipe: Recipe, expected: Sequence[Expected]) -> Report:
    model = SavedModel(folder)
    try:
        return hold(recipe, expected, model)
    finally:
        model.close()


def hold(recipe: Recipe, expected: Sequence[Expected], model: Model) -> Report:
    """Compare a model, wherever it runs, with what a reference gives."""
    comparison = Comparison(recipe, model)
    report = Report(tolerance=recipe.tolerance, min_cosine=recipe.min_cosine, outputs=comparison.figures)
    report.mismatches = comparison.mismatches
    if comparison.declared():
        for at in samples.calls([len(each.tokens.ids) for each in expected]):
            report.calls += comparison.call([expected[row] for row in at])
        if not model.is_shared:  # TensorFlow Serving has a batch of no texts wait for another; clients send none
            report.calls += comparison.call([])
        report.texts = len(expected)
        report.tokens = sum(len(each.tokens.ids) for each in expected)
        report.least_texts, report.least_tokens = comparison.enough(report.texts, report.tokens)
    return report
