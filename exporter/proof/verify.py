"""The proof of an export: a written SavedModel, loaded from disk by a fresh process, against the reference.

``python -m rawbert.exporter.proof TASK REPORT`` is that process. Every signature is run on the texts of
:mod:`.samples`, alone and in batches of several sizes, which use different branches of the graph. Every output of
every text is compared: tokens, offsets and counts for equality, vectors within the tolerance. Only models that pass
this comparison are published.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ...serving.plurals import counted
from .. import scratch
from ..errors import VerificationError
from ..recipe import TOLERANCES, Recipe
from . import answers, precision, samples
from .answers import Expected
from .comparison import Comparison, Report
from .model import Model, SavedModel


@dataclass(frozen=True)
class Task:
    """The task of the process.

    Args:
        saved_model: folder of the SavedModel.
        recipe: recipe of the export.
        source: folder of its checkpoint; ``None`` compares with the answers stored in the version.
        float32: folder of the same graph in float32, for a SavedModel of a lower precision.
        record: store the reference's answers in the SavedModel's folder, if there are no differences.
    """

    saved_model: Path
    recipe: Recipe
    source: Path | None = None
    float32: Path | None = None
    record: bool = False


def prove(task: Task) -> Report:
    """Compare in a fresh process.

    Raises:
        VerificationError: an output differs, or the comparison failed to run.
    """
    report = run(task)
    require(report)
    return report


def run(task: Task) -> Report:
    """Compare in a fresh process, and report differences in place of raising an error.

    Raises:
        VerificationError: the comparison failed to run.
    """
    with scratch.temporary() as folder:
        # Only these two processes access the files.
        task_file, report_file = folder / "task", folder / "report"
        task_file.write_bytes(pickle.dumps(task))
        # -P, so that a folder in the working directory with the name of an import is not loaded.
        command = [sys.executable, "-P", "-m", __package__, os.fspath(task_file), os.fspath(report_file)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
        if done.returncode != 0 or not report_file.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise VerificationError(
                f"the verification of the SavedModel failed to run (exit status {done.returncode}): {last}"
            )
        report: Report = pickle.loads(report_file.read_bytes())
        return report


def require(report: Report) -> None:
    """Raise :class:`VerificationError` if a report has mismatches."""
    if report.mismatches:
        shown = "".join(f"\n  - {line}" for line in report.mismatches[:10])
        more = len(report.mismatches) - 10
        raise VerificationError(
            f"the exported model differs from its reference ({counted(len(report.mismatches), 'difference')}); "
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
            twin = compare_answers(exact, expected, model)
        if twin.mismatches:
            return replace(twin, mismatches=[f"in float32, {line}" for line in twin.mismatches])
    with closing(SavedModel(task.saved_model)) as model:
        report = compare_answers(task.recipe, expected, model)
    report.float32 = twin
    if task.float32 is not None:
        report.mismatches += precision.differences(task.saved_model, task.float32)
    if task.record and not report.mismatches:
        answers.write(record, expected, task.recipe.signatures)
    return report


def compare_answers(recipe: Recipe, expected: Sequence[Expected], model: Model) -> Report:
    """Compare a model, in this process or on a server, with the reference's answers."""
    comparison = Comparison(recipe, model)
    if comparison.declared():
        for at in samples.calls([len(each.tokens.ids) for each in expected]):
            comparison.call([expected[row] for row in at])
        if not model.is_shared:  # in TensorFlow Serving an empty batch waits for another one; clients do not send it
            comparison.call([])
        comparison.enough(expected)
    return comparison.report
