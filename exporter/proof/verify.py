"""The gate: a written SavedModel, loaded from disk by a fresh process, against the reference.

``python -m rawbert.exporter.proof TASK REPORT`` is that process. Every signature is run on the texts of
:mod:`.samples`, alone and in batches of several sizes, because each takes other branches of the graph. Every output of
every text is compared: tokens, offsets and counts for equality, vectors within the tolerance. Nothing is published that
was not found equal here.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from .. import scratch
from ..errors import VerificationError
from ..recipe import TOLERANCES, Recipe
from . import answers, precision, samples
from .answers import Expected
from .comparison import Comparison, Report
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


def prove(task: Task) -> Report:
    """Compare in a fresh process.

    Raises:
        VerificationError: an output differs, or the comparison could not be made.
    """
    report = run(task)
    require(report)
    return report


def run(task: Task) -> Report:
    """As :func:`prove`, with what differs in the report only.

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
        with closing(SavedModel(task.float32)) as model:
            twin = hold(exact, expected, model)
        if twin.mismatches:
            return replace(twin, mismatches=[f"in float32, {line}" for line in twin.mismatches])
    with closing(SavedModel(task.saved_model)) as model:
        report = hold(task.recipe, expected, model)
    report.float32 = twin
    if task.float32 is not None:
        report.mismatches += precision.differences(task.saved_model, task.float32)
    if task.record and not report.mismatches:
        answers.write(record, expected, task.recipe.signatures)
    return report


def hold(recipe: Recipe, expected: Sequence[Expected], model: Model) -> Report:
    """Compare a model, wherever it runs, with what a reference gives."""
    comparison = Comparison(recipe, model)
    if comparison.declared():
        for at in samples.calls([len(each.tokens.ids) for each in expected]):
            comparison.call([expected[row] for row in at])
        if not model.is_shared:  # TensorFlow Serving has a batch of no texts wait for another; clients send none
            comparison.call([])
        comparison.enough(expected)
    return comparison.report
